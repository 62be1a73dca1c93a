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


def the_origin(
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
        from tui_tuner.inference.places import agree

        # Recorded before the model is loaded, which is what asks for it
        agree(found)
    note = training_note(found)
    if note:
        typer.echo(note, err=True)
    return found


def fetch_missing(origins: list[Origin]) -> None:
    """Download missing base models, with progress."""
    from tui_tuner.cli.fetching import Told
    from tui_tuner.inference.bringing import bases_not_here, bring

    for model in bases_not_here(origins):
        told = Told(model.name, as_json=False)
        try:
            bring(model, told)
        except KeyboardInterrupt:
            told.stopped()
            raise typer.Exit(EXIT_INTERRUPTED) from None
        finally:
            told.clear()


def training_note(origin: Origin) -> str:
    """Return a note that a run is still training, with the step of its model; empty otherwise."""
    from tui_tuner.inference.origin import step_of
    from tui_tuner.runs.store import RunFolder

    if origin.kind != "run" or origin.checkpoint == "base" or not RunFolder(Path(origin.path)).alive():
        return ""
    step = step_of(origin)
    if step is None:
        return _("{name} is still training.", name=one_line(origin.name))
    return _("{name} is still training; this is its model at step {step:,}.",
             name=one_line(origin.name), step=step)  # fmt: skip
