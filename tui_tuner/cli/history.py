"""`tui-tuner runs`: what ran here, and keeping it in order."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tui_tuner.cli.options import Json
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _, _n
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import human_bytes, human_seconds, one_line

STATES = (
    N_("new"),
    N_("running"),
    N_("paused"),
    N_("completed"),
    N_("stopped"),
    N_("failed"),
    N_("lost"),
)
_SCAN_SECONDS = 3.0  # for long journals that were not read before

app = typer.Typer(invoke_without_command=True, no_args_is_help=False)

RunsFolder = Annotated[str | None, typer.Option("--runs", help=N_("Folder that holds the runs."))]
Name = Annotated[str, typer.Argument(help=N_("Name or folder of a run, or `last`."), metavar="RUN")]
Names = Annotated[list[str], typer.Argument(help=N_("Names of runs."), metavar="RUN...")]


@app.callback()
def runs(
    context: typer.Context,
    runs: Annotated[str, typer.Option("--runs", help=N_("Folder that holds the runs."))] = "runs",
    search: Annotated[
        str, typer.Option("--search", help=N_("Only runs that hold all these words."), metavar="WORDS")
    ] = "",
    state: Annotated[
        str,
        typer.Option(
            "--state", help=_("Only runs that are: {states}.", states=", ".join(STATES)), metavar="STATE"
        ),
    ] = "",
    whole: Annotated[
        bool, typer.Option("--all", help=N_("Read every journal to its end, however long it takes."))
    ] = False,
    json: Json = False,
) -> None:
    """List the runs, newest first; rename, note, tag, delete and restore them."""
    context.obj = runs
    if context.invoked_subcommand is not None:
        return
    from tui_tuner.runs.history import matches, summaries

    if Path(runs).expanduser().is_file():
        raise UsageError(
            _("is a file, not a folder."), where=one_line(runs), hint=_("Choose another folder with --runs.")
        )

    if state and state not in STATES:
        raise UsageError(
            _(
                "--state: unknown state {state!r}; known are {states}.",
                state=one_line(state),
                states=", ".join(STATES),
            )
        )
    rows = [
        row
        for row in summaries(RunStore(runs), None if whole else _SCAN_SECONDS)
        if matches(row, search.split(), state)
    ]
    if json:
        import orjson

        from tui_tuner.runs.wire import plain

        typer.echo(orjson.dumps(plain(rows, spelt=True), option=orjson.OPT_INDENT_2).decode())
    else:
        _print(rows, runs, filtered=bool(search or state))


def _print(rows: list[dict[str, Any]], runs: str, filtered: bool) -> None:
    if not rows:
        typer.echo(
            _("no run matches")
            if filtered
            else _("no runs in {runs}; `tui-tuner demo` makes the first one", runs=one_line(runs))
        )
        return
    width = min(44, max(len(one_line(row["name"])) for row in rows))
    state = max(len(_state(row)) for row in rows)
    for row in rows:
        typer.echo(_line(row, width, max(9, state)))
        for detail in _details(row):
            typer.echo(f"    {detail}")
    size = human_bytes(sum(row["bytes"] for row in rows))
    typer.echo(_n("{count} run, {size}", "{count} runs, {size}", len(rows), count=len(rows), size=size))
    if not all(row["complete"] for row in rows):
        typer.echo(
            _("some journals are long and were not read to their end yet: run this again, or use --all")
        )


def _state(row: dict[str, Any]) -> str:
    """How a run ended, and what came of it."""
    from tui_tuner.verdicts.told import status_words

    return status_words(row["state"], row["verdict"] or "")


def _line(row: dict[str, Any], width: int, state: int) -> str:
    done = f"{row['step']}/{row['total_steps'] or '?'}"
    parts = [
        f"{one_line(row['name'], width):{width}}",
        f"{_state(row):{state}}",
        f"{done:>11}",
        f"{_figure(_('loss'), row['loss']):11}",
        f"{_best(row):16}",
        f"{human_seconds(row['paid_seconds']) if row['paid_seconds'] else '':>13}",
        f"{human_bytes(row['bytes']):>9}",
    ]
    if row["cost"] is not None:
        parts.append(_("cost {cost:.2f}", cost=row["cost"]))
    return "  ".join(parts).rstrip()


def _details(row: dict[str, Any]) -> list[str]:
    from tui_tuner.runs.told import use_words

    found = []
    if row["tags"] or row["note"]:
        found.append(" ".join([*(f"#{one_line(tag)}" for tag in row["tags"]), one_line(row["note"], 200)]))
    used = use_words(row["mfu"], row["gpu_busy"])
    if used:
        found.append(", ".join(used))
    if row["newer_journal"]:
        found.append(_("written by a newer tui-tuner: what this one does not know is not shown"))
    if row["host"]:
        found.append(_("on the machine {host}", host=one_line(row["host"])))
    if row["model_from"]:
        found.append(_("model: {source}", source=one_line(row["model_from"], 200)))
    if row["state"] == "failed" and row["message"]:
        found.append(one_line(row["message"], 200))
    if row["state"] == "lost":
        from tui_tuner.runs.history import lost

        what = lost(RunFolder(Path(row["folder"])), 3)
        found.append(one_line(what.death.message))
        found += [f"| {line}" for line in what.lines]
        found.append(_("resume it with: {command}", command=what.resume))
    return found


def _figure(label: str, value: float | None) -> str:
    return f"{label} {value:.4f}" if value is not None else ""


def _best(row: dict[str, Any]) -> str:
    """The best value of the metric that decides, as its field shows it."""
    from tui_tuner.config.deciding import metric_name
    from tui_tuner.runs.pace import metric_figure

    if row["best"] is None:
        return ""
    value = metric_figure(row["metric"], row["best"])
    return _("best {metric} {value}", metric=metric_name(row["metric"]), value=value)


@app.command("rename")
def rename(context: typer.Context, run: Name, name: str, runs: RunsFolder = None) -> None:
    """Give a run another name."""
    from tui_tuner.runs import trash

    store = _store(context, runs)
    folder = trash.rename(store, store.find(run), name)
    typer.echo(_("{run} is now {name}", run=one_line(run), name=one_line(folder.name)))


@app.command("note")
def note(
    context: typer.Context,
    run: Name,
    text: Annotated[list[str] | None, typer.Argument(help=N_("The note; nothing removes it."))] = None,
    runs: RunsFolder = None,
) -> None:
    """Write a note about a run."""
    from tui_tuner.runs.notes import set_note

    folder = _store(context, runs).find(run)
    set_note(folder, " ".join(text or []))
    name = one_line(folder.name)
    typer.echo(_("{name}: note written", name=name) if text else _("{name}: note removed", name=name))


@app.command("tag", context_settings={"ignore_unknown_options": True})
def tag(
    context: typer.Context,
    run: Name,
    tags: Annotated[list[str], typer.Argument(help=N_("Tags to add; -TAG removes one."), metavar="TAG...")],
    runs: RunsFolder = None,
) -> None:
    """Add tags to a run, or remove them."""
    from tui_tuner.runs.notes import change_tags

    folder = _store(context, runs).find(run)
    left = change_tags(folder, tags)
    typer.echo(f"{one_line(folder.name)}: {', '.join(left) or _('no tags')}")


@app.command("delete")
def delete(context: typer.Context, names: Names, runs: RunsFolder = None) -> None:
    """Move runs to the trash, from which they can be restored."""
    from tui_tuner.runs import trash

    store = _store(context, runs)
    for folder in [store.find(name) for name in names]:
        trash.delete(store, folder)
        typer.echo(
            _("{name} is in the trash; `tui-tuner runs restore` brings it back", name=one_line(folder.name))
        )


@app.command("restore")
def restore(context: typer.Context, names: Names, runs: RunsFolder = None) -> None:
    """Take deleted runs out of the trash."""
    from tui_tuner.runs import trash

    store = _store(context, runs)
    for name in names:
        typer.echo(_("{name} is back", name=one_line(trash.restore(store, name).name)))


@app.command("trash")
def show_trash(
    context: typer.Context,
    runs: RunsFolder = None,
    empty: Annotated[
        bool, typer.Option("--empty", help=N_("Delete what is in the trash, for good."))
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help=N_("Do not ask."))] = False,
) -> None:
    """List what is in the trash, or empty it."""
    from tui_tuner.runs import trash
    from tui_tuner.runs.history import disk_use

    store = _store(context, runs)
    found = trash.deleted(store)
    if not found:
        typer.echo(_("the trash is empty"))
        return
    for item in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.time)) if item.time else _("unknown")
        deleted = _("deleted {when}", when=when)
        typer.echo(f"{one_line(item.name, 44):44}  {deleted}  {human_bytes(disk_use(item.path)):>9}")
    if not empty:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                _("emptying the trash cannot be undone."), hint=_("Add --yes where nobody can be asked.")
            )
        ask = _n(
            "Delete {count} run for good?", "Delete {count} runs for good?", len(found), count=len(found)
        )
        typer.confirm(ask, abort=True)
    count, size = trash.empty(store)
    typer.echo(
        _n(
            "deleted {count} run, {size}",
            "deleted {count} runs, {size}",
            count,
            count=count,
            size=human_bytes(size),
        )
    )


def _store(context: typer.Context, runs: str | None) -> RunStore:
    return RunStore(runs if runs is not None else context.obj)
