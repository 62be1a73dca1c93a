"""`tui-tuner serve`: an OpenAI-compatible server for results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui_tuner.cli.options import Runs
from tui_tuner.cli.using.model_options import (
    AnyBase,
    Base,
    Checkpoint,
    Device,
    TrustCode,
    fetch_bases_with_progress,
    find_named_origin,
)
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.inference.origin import Origin
    from tui_tuner.serving.backends import ServerPlan


def serve_results(
    models: Annotated[
        list[str],
        typer.Argument(
            help=N_("Names or folders of runs, PEFT adapters, model folders or hub ids."), metavar="RUN..."
        ),
    ],
    port: Annotated[int, typer.Option("--port", help=N_("Where it listens; 0 takes a free one."))] = 8000,
    host: Annotated[
        str, typer.Option("--host", help=N_("Its address; any but this machine's own needs a key."))
    ] = "127.0.0.1",
    key: Annotated[
        str, typer.Option("--key", help=N_("What clients must send as their API key."), metavar="KEY")
    ] = "",
    key_file: Annotated[
        str, typer.Option("--key-file", help=N_("A file that holds the key."), metavar="FILE")
    ] = "",
    server: Annotated[
        str, typer.Option("--with", help=N_("auto, vllm or transformers."), metavar="SERVER")
    ] = "auto",
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            help=N_("Write a SkyPilot recipe for several machines into this file, and serve nothing."),
            metavar="FILE",
        ),
    ] = "",
    checkpoint: Checkpoint = "",
    device: Device = "auto",
    base: Base = "",
    any_base: AnyBase = False,
    trust_remote_code: TrustCode = False,
    runs: Runs = "runs",
) -> None:
    """Serve results to programs, as OpenAI's interface has it, with streaming."""
    from tui_tuner.inference.origin import check_models_write
    from tui_tuner.serving.backends import choose_backend
    from tui_tuner.serving.keys import check_host, read_key
    from tui_tuner.serving.listening import take_address

    secret = read_key(key, key_file)
    check_host(host, secret)
    if checkpoint and len(models) > 1:
        raise UsageError(_("is for one model; write RUN/last or RUN/step-20 for each."), where="--checkpoint")
    origins = [
        find_named_origin(name, checkpoint, runs, base, any_base, trust_remote_code) for name in models
    ]
    check_models_write(origins)
    if recipe:
        _write_recipe(origins, recipe)
        return
    chosen = choose_backend(server, origins)
    bound = take_address(host, port)
    try:
        raise typer.Exit(_serve(origins, chosen, bound, host, secret, device, trust_remote_code))
    finally:
        bound.close()


def _serve(
    origins: list[Origin], chosen: str, bound: Any, host: str, key: str, device: str, trusts: bool
) -> int:
    from tui_tuner.launch.environment import prepare_environment
    from tui_tuner.serving.serve import ServeOptions, serve_plan

    prepare_environment()
    fetch_bases_with_progress(origins)
    make_plan = _prepare(origins, chosen, device, trusts)
    typer.echo(_("loading the model…"), err=True)
    return serve_plan(make_plan, bound, ServeOptions(host, key, typer.echo, typer.echo))


def _prepare(origins: list[Origin], chosen: str, device: str, trusts: bool) -> Any:
    """Return the function that plans the server, after the folders of its models were made."""
    from tui_tuner.serving.backends import TRANSFORMERS, plan_transformers, plan_vllm
    from tui_tuner.serving.models import (
        ServedModel,
        check_one_base,
        name_base,
        name_models,
        prepare_adapter,
        prepare_whole,
    )

    names = name_models(origins)
    if chosen == TRANSFORMERS:
        whole = prepare_whole(origins[0], names[0], _tell)

        def plan(folder: Path) -> ServerPlan:
            return plan_transformers(whole, folder, device, trusts)

        return plan
    adapters = [prepare_adapter(origin, name) for origin, name in zip(origins, names, strict=True)]
    found = [one for one in adapters if one is not None]
    if len(found) == len(origins):
        place = check_one_base(found)
        model = ServedModel(name_base(place, names), place)
        return lambda _folder: plan_vllm(model, found, trusts)
    if len(origins) > 1:
        wrong = [name for name, one in zip(names, adapters, strict=True) if one is None]
        raise UsageError(
            _("vLLM serves several results only as LoRA adapters of one base, and these are none: {names}.",
              names=one_line(", ".join(wrong), 200)),
            where="serve",
            hint=_("Serve each on a port of its own."),
        )  # fmt: skip
    merged = prepare_whole(origins[0], names[0], _tell)
    return lambda _folder: plan_vllm(merged, [], trusts)


def _write_recipe(origins: list[Origin], target: str) -> None:
    from tui_tuner.serving.recipe import write_recipe

    path = Path(target).expanduser()
    write_recipe(origins, path)
    typer.echo(_("written: {path}", path=one_line(path, 300)))
    typer.echo(_("run it with: {command}", command=f"sky serve up {path}"))


def _tell(told: dict[str, Any]) -> None:
    if "note" in told:
        typer.echo(told["note"], err=True)
