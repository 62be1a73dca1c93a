"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from tui_tuner.locales import N_

Runs = Annotated[str, typer.Option("--runs", help=N_("Folder that holds the runs."), metavar="FOLDER")]
Json = Annotated[bool, typer.Option("--json", help=N_("Print only JSON on standard output."))]
NoTui = Annotated[bool, typer.Option("--no-tui", help=N_("Print lines instead of opening a screen."))]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help=N_("Change one field: section.field=value. Repeatable."), metavar="FIELD=VALUE"
    ),
]
Detach = Annotated[bool, typer.Option("--detach", help=N_("Train in the background; watch it with attach."))]


def print_to_stderr(note: str) -> None:
    """Print a line on standard error, so that it does not mix with the output of a command."""
    from tui_tuner.text import sanitize

    typer.echo(sanitize(note), err=True)
