"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from tui_tuner.locales import N_

Runs = Annotated[str, typer.Option("--runs", help=N_("Folder that holds the runs."), metavar="FOLDER")]
Json = Annotated[bool, typer.Option("--json", help=N_("Print JSON, and nothing else, on standard output."))]
NoTui = Annotated[bool, typer.Option("--no-tui", help=N_("Print lines instead of opening a screen."))]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help=N_("Change one field: section.field=value. Repeatable."), metavar="FIELD=VALUE"
    ),
]
Detach = Annotated[bool, typer.Option("--detach", help=N_("Train in the background; watch it with attach."))]


def say_aside(note: str) -> None:
    """A line on standard error, where it is in no one's way."""
    from tui_tuner.text import sanitize

    typer.echo(sanitize(note), err=True)
