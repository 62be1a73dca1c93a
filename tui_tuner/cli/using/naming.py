"""What `chat`, `ask` and `predict` share: how a model is named on the command line, found and fetched."""

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
        help=N_("best, last, step-N or base; the best where there is one."),
        metavar="WHICH",
    ),
]
Device = Annotated[str, typer.Option("--device", help=N_("cpu, cuda:0 or auto."))]
Base = Annotated[
    str,
    typer.Option(
        "--base",
        help=N_("Folder or hub id of the base model, where it is not where it was."),
        metavar="FOLDER",
    ),
]
AnyBase = Annotated[
    bool,
    typer.Option(
        "--any-base", help=N_("Take a base model with other weights than the adapter was trained on.")
    ),
]
TrustCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help=N_("Agree to run the code that the model comes with.")),
]


def the_origin(
    name: str, checkpoint: str, runs: str, base: str = "", any_base: bool = False, agreed: bool = False
) -> Origin:
    """The model that a command names; what a run under way has by now is said.

    Args:
        agreed: The user agrees to run the code that the model comes with.
    """
    from tui_tuner.inference.origin import find_origin
    from tui_tuner.runs.store import RunStore

    found = find_origin(name, RunStore(runs), checkpoint, base=base, any_base=any_base)
    if agreed:
        from tui_tuner.inference.places import agree

        agree(found)
    note = training_note(found)
    if note:
        typer.echo(note, err=True)
    return found


def fetch_missing(origins: list[Origin]) -> None:
    """Fetch the models of hubs that these begin with and that are not here, telling how far that is."""
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
    """That a run is still training, and of which step its model is; empty where it is not."""
    from tui_tuner.inference.origin import step_of
    from tui_tuner.runs.store import RunFolder

    if origin.kind != "run" or origin.checkpoint == "base" or not RunFolder(Path(origin.path)).alive():
        return ""
    step = step_of(origin)
    if step is None:
        return _("{name} is still training.", name=one_line(origin.name))
    return _("{name} is still training; this is its model of step {step:,}.",
             name=one_line(origin.name), step=step)  # fmt: skip
