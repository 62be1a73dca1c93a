"""`tui-tuner models`: lists, searches and downloads models, and logs in to hubs."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui_tuner.cli.options import Json
from tui_tuner.errors import EXIT_FAILED, EXIT_INTERRUPTED, UsageError
from tui_tuner.locales import N_, _, _n
from tui_tuner.models.hub.kinds import HUGGINGFACE, LABELS, MODELSCOPE, SOURCES
from tui_tuner.text import format_bytes, one_line

if TYPE_CHECKING:
    from tui_tuner.models.hub.kinds import FoundModel, LocalModel, ModelDescription

app = typer.Typer(
    help=N_("Models on this machine and on hubs: list, search, download, log in."),
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_TOKEN_PAGES = {
    HUGGINGFACE: "https://huggingface.co/settings/tokens",
    MODELSCOPE: "https://modelscope.cn/my/myaccesstoken",
}


def _check_source(source: str) -> str:
    if source not in SOURCES:
        raise UsageError(
            _("--source: unknown hub {source!r}.", source=one_line(source, 40)),
            hint=_("Known are {names}.", names=", ".join(SOURCES)),
        )
    return source


Source = Annotated[
    str,
    typer.Option(
        "--source", help=N_("The hub: huggingface or modelscope."), metavar="HUB", callback=_check_source
    ),
]
Name = Annotated[str, typer.Argument(help=N_("Its id, such as Qwen/Qwen3-0.6B."), metavar="NAME")]
Revision = Annotated[
    str | None,
    typer.Option("--revision", help=N_("Branch, tag or commit; by default the newest.")),
]
Names = Annotated[bool, typer.Option("--names", help=N_("Print only names, one per line, for a pipe."))]


@app.command("list", epilog=N_("\b\nExamples:\n  tui-tuner models list\n  tui-tuner models list --json"))
def print_local_models(names: Names = False, json: Json = False) -> None:
    """List the models on this machine: their size, and whether they are complete."""
    from tui_tuner.models.hub import api
    from tui_tuner.models.hub.huggingface import find_huggingface_cache
    from tui_tuner.models.hub.ms_store import find_modelscope_cache
    from tui_tuner.models.hub.net import is_network_offline

    found = api.list_hub_models()
    total = sum(one.bytes for one in found)
    if json:
        hubs = {source: api.find_hub_address(source) for source in SOURCES}
        caches = {HUGGINGFACE: find_huggingface_cache(), MODELSCOPE: str(find_modelscope_cache())}
        told = {"hubs": hubs, "offline": is_network_offline(), "caches": caches, "bytes": total}
        _print_json({**told, "models": [asdict(one) | {"path": str(one.path)} for one in found]})
        return
    if names:
        for one in found:
            typer.echo(one_line(one.name))
        return
    for one in found:
        typer.echo(_format_local(one))
    count = len(found)
    typer.echo(
        _n("{count} model, {size}", "{count} models, {size}", count, count=count, size=format_bytes(total))
    )
    typer.echo(
        _(
            "hub: {endpoint}, cache: {folder}",
            endpoint=describe_used_hub(),
            folder=one_line(find_huggingface_cache()),
        )
    )


def describe_used_hub() -> str:
    """Return the address of the hub in use, and whether the network is off."""
    from tui_tuner.models.hub import api
    from tui_tuner.models.hub.net import is_network_offline

    address = one_line(api.find_hub_address())
    return (
        _("{address} (not used: HF_HUB_OFFLINE is set)", address=address) if is_network_offline() else address
    )


def _format_local(one: LocalModel) -> str:
    import time

    used = time.strftime("%Y-%m-%d", time.localtime(one.used)) if one.used else "-"
    state = _("complete") if one.whole else _("partial: {missing}", missing=one.missing)
    hub = LABELS.get(one.source, _("folder"))
    return f"{format_bytes(one.bytes):>9}  {used}  {one_line(one.name)}  ({hub}, {state})"


@app.command(
    "search",
    epilog=N_(
        "\b\nExamples:\n  tui-tuner models search qwen3 0.6b\n"
        "  tui-tuner models search bert --source modelscope --limit 5\n"
        "  tui-tuner models search smollm --names | head -1 | tui-tuner models fetch -"
    ),
)
def print_found_models(
    query: Annotated[list[str], typer.Argument(help=N_("Words in its name."), metavar="WORD...")],
    source: Source = HUGGINGFACE,
    limit: Annotated[int, typer.Option("--limit", help=N_("Show at most this many."), min=1, max=100)] = 20,
    names: Names = False,
    json: Json = False,
) -> None:
    """Search a hub for text models, most used first."""
    from tui_tuner.models.hub import api

    found = api.search_models_on_hub(" ".join(query), source, limit)
    if json:
        _print_json({"hub": api.find_hub_address(source), "models": [asdict(one) for one in found]})
        return
    for one in found:
        typer.echo(one.name if names else _format_found(one))
    if not found:
        hub = LABELS[source]
        typer.echo(_("no text model on {hub} matches these words", hub=hub), err=True)
        raise typer.Exit(EXIT_FAILED)


def _format_found(one: FoundModel) -> str:
    from tui_tuner.text import format_count

    parts = [
        _("{count} parameters", count=format_count(one.parameters)) if one.parameters else "",
        one.licence,
        _("gated") if one.gated else "",
        _("{count} downloads", count=format_count(one.downloads)) if one.downloads is not None else "",
        one.updated,
        one.kind,
    ]
    return f"{one.name}  ({', '.join(part for part in parts if part)})"


@app.command("show", epilog=N_("\b\nExample:\n  tui-tuner models show Qwen/Qwen3-0.6B"))
def print_model_facts(
    name: Name, revision: Revision = None, source: Source = HUGGINGFACE, json: Json = False
) -> None:
    """Show the facts about a model on a hub, and the size of its download."""
    from tui_tuner.models.hub import api

    model = api.describe_hub_model(name, revision, source)
    if json:
        _print_json(asdict(model) | {"missing": model.missing_bytes})
        return
    for label, value in _list_facts(model):
        if value:
            typer.echo(f"{label:12} {value}")


def _list_facts(model: ModelDescription) -> list[tuple[str, str]]:
    from tui_tuner.text import format_count

    files = len(model.files)
    size = format_bytes(model.bytes)
    count = _n("{count} file, {size}", "{count} files, {size}", files, count=files, size=size)
    here = _("{size} of it already on this machine", size=format_bytes(model.here)) if model.here else ""
    if model.files and not model.missing_bytes:
        here = _("all of it on this machine")
    if not model.safetensors:
        here = _("no safetensors weights: it cannot be trained")
    return [
        (_("name"), one_line(model.name)),
        (_("hub"), LABELS[model.source]),
        (_("commit"), one_line(model.commit)),
        (_("parameters"), format_count(model.parameters) if model.parameters else ""),
        (_("files"), f"{count}{f', {here}' if here else ''}"),
        (_("licence"), model.licence),
        (_("gated"), _("yes: accept its terms on its page, then log in") if model.gated else ""),
        (_("own code"), _("yes: needs model.trust_remote_code") if model.remote_code else ""),
        (_("kind"), model.kind),
        (_("changed"), model.updated),
        (_("page"), model.page),
    ]


@app.command(
    "fetch",
    epilog=N_(
        "\b\nExamples:\n  tui-tuner models fetch Qwen/Qwen3-0.6B\n"
        "  HF_ENDPOINT=https://hf-mirror.com tui-tuner models fetch Qwen/Qwen3-0.6B\n"
        "  tui-tuner models fetch Qwen/Qwen3-0.6B --source modelscope\n"
        "  tui-tuner models fetch - < names.txt"
    ),
)
def fetch_named_models(
    name: Annotated[
        str,
        typer.Argument(
            help=N_("Its id, such as Qwen/Qwen3-0.6B; - reads names from a pipe."), metavar="NAME"
        ),
    ],
    revision: Revision = None,
    source: Source = HUGGINGFACE,
    json: Json = False,
) -> None:
    """Download a model to this machine; files that are already here are not downloaded again."""
    from tui_tuner.cli.download_progress import DownloadPrinter
    from tui_tuner.models.hub import api

    names = [name]
    if name == "-":
        names = [line.strip() for line in sys.stdin.read().splitlines() if line.strip()]
        if not names:
            raise UsageError(_("the pipe contained no names."), hint=_("Give one name per line."))
    for one in names:
        # One printer per model, as each has its own name and totals
        told = DownloadPrinter(one, json)
        # Names from a pipe may be folders that `models list` printed
        if revision is None and (here := _find_model_folder(one)) is not None:
            told.print_done(here)
            continue
        try:
            folder = api.fetch_hub_model(one, revision=revision, source=source, progress=told)
        except KeyboardInterrupt:
            told.print_stopped()
            raise typer.Exit(EXIT_INTERRUPTED) from None
        # Whatever ends the download, its progress line must not be mixed with the error message
        except BaseException:
            told.clear_line()
            raise
        told.print_done(folder)


def _find_model_folder(name: str) -> Path | None:
    """Return the path if a name is a model folder; None if it is a hub id."""
    from tui_tuner.config.kinds.tasks import TINY

    if name in ("demo", TINY):
        raise UsageError(
            _("{name} is included in this package, so there is nothing to download.", name=name),
            hint=_("Use it by its name: --set model.name={name}.", name=name),
        )
    folder = Path(name).expanduser()
    return folder if (folder / "config.json").is_file() else None


@app.command(
    "login",
    epilog=N_(
        "\b\nExamples:\n  tui-tuner models login\n  tui-tuner models login < token.txt\n"
        "  tui-tuner models login --source modelscope"
    ),
)
def run_login_command(
    source: Source = HUGGINGFACE,
    token_there: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Log in to a hub with a token, which is read from a hidden prompt or a pipe."""
    from getpass import getpass

    from tui_tuner.models.hub import api

    # An error of our own, as the parser's would print the token
    if token_there:
        raise UsageError(
            _("a token is not accepted as an argument: other users of this machine could read it."),
            hint=_("Leave it out to be asked for it, or send it through a pipe."),
        )
    if sys.stdin.isatty():
        page = _TOKEN_PAGES[source]
        typer.echo(_("Create a token on {page}; it is not shown while you paste it.", page=page), err=True)
        token = getpass(f"{_('Token:')} ", stream=sys.stderr)
    else:
        # Only one line: files with a token usually end with a newline
        token = sys.stdin.readline()
    who = api.log_in_to_hub(token, source)
    typer.echo(_("logged in to {hub} as {name}", hub=LABELS[source], name=who.name or "?"))


@app.command("logout")
def run_logout_command(source: Source = HUGGINGFACE) -> None:
    """Delete the token of a hub that is stored on this machine."""
    from tui_tuner.models.hub import api

    hub = LABELS[source]
    was = api.log_out_of_hub(source)
    typer.echo(_("logged out of {hub}", hub=hub) if was else _("you were not logged in to {hub}", hub=hub))


@app.command("who")
def print_login(source: Source = HUGGINGFACE, json: Json = False) -> None:
    """Show who is logged in to a hub, and where the token comes from."""
    from tui_tuner.models.hub import api

    found = api.find_hub_user(source)
    if json:
        _print_json({"hub": api.find_hub_address(source), "who": asdict(found) if found else None})
    elif found is None:
        typer.echo(_("you are not logged in to {hub}", hub=LABELS[source]))
    elif not found.name:
        origin = one_line(found.origin)
        typer.echo(
            _(
                "there is a token in {origin}; the hub could not be reached to check whose it is",
                origin=origin,
            )
        )
    else:
        typer.echo(_("{name}, with the token in {origin}", name=found.name, origin=one_line(found.origin)))
    if found is None:
        raise typer.Exit(EXIT_FAILED)


def _print_json(value: Any) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
