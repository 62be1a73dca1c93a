"""Shared by `chat`, `ask` and `predict`: options that name a model, finding it, and downloading its base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tui_tuner.errors import EXIT_INTERRUPTED
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.inference.origin import Origin

ModelName = Annotated[
    str,
    typer.Argument(
        help=N_("Name or folder of a run, a PEFT adapter, a model folder or a hub id."), metavar="RUN"
    ),
]
Checkpoint = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        help=N_("best, last, step-N or base; by default the best one."),
        metavar="WHICH",
    ),
]
Device = Annotated[str, typer.Option("--device", help=N_("cpu, cuda:0 or auto."))]
Base = Annotated[
    str,
    typer.Option(
        "--base",
        help=N_("Folder or hub id of the base model, if it has moved."),
        metavar="FOLDER",
    ),
]
AnyBase = Annotated[
    bool,
    typer.Option(
        "--any-base", help=N_("Accept a base model with other weights than the adapter was trained on.")
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help=N_("Agree to run the code that comes with the model.")),
]


def find_named_origin(
    name: str, checkpoint: str, runs: str, base: str = "", any_base: bool = False, agreed: bool = False
) -> Origin:
    """Find the model that a command names; print a note if its run is still training.

    Args:
        agreed: Whether the user agrees to run the code that comes with the model.
    """
    from tui_tuner.inference.origin import find_origin
    from tui_tuner.runs.store import RunStore

    found = find_origin(name, RunStore(runs), checkpoint, base=base, any_base=any_base)
    if agreed:
        from tui_tuner.inference.model_places import remember_origin_consent

        # Recorded before the model is loaded, which is what asks for it
        remember_origin_consent(found)
    note = describe_training_state(found)
    if note:
        typer.echo(note, err=True)
    return found


def fetch_bases_with_progress(origins: list[Origin]) -> None:
    """Download missing base models, with progress."""
    from tui_tuner.cli.download_progress import DownloadPrinter
    from tui_tuner.inference.base_download import fetch_base, list_missing_bases

    for model in list_missing_bases(origins):
        told = DownloadPrinter(model.name, as_json=False)
        try:
            fetch_base(model, told)
        except KeyboardInterrupt:
            told.print_stopped()
            raise typer.Exit(EXIT_INTERRUPTED) from None
        finally:
            told.clear_line()


def describe_training_state(origin: Origin) -> str:
    """Return a note that a run is still training, with the step of its model; empty otherwise."""
    from tui_tuner.inference.origin import read_origin_step
    from tui_tuner.runs.store import RunFolder

    if origin.kind != "run" or origin.checkpoint == "base" or not RunFolder(Path(origin.path)).is_alive():
        return ""
    step = read_origin_step(origin)
    if step is None:
        return _("{name} is still training.", name=one_line(origin.name))
    return _("{name} is still training; this is its model at step {step:,}.",
             name=one_line(origin.name), step=step)  # fmt: skip
