"""`tui-tuner methods`: lists the methods of training, or explains one."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Annotated

import typer

from tui_tuner.cli.options import Json
from tui_tuner.errors import UsageError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_WIDEST = 100  # characters of a line; longer ones are hard to read


def explain_methods(
    kind: Annotated[
        str | None, typer.Argument(help=N_("A value of method.kind, such as lora."), metavar="KIND")
    ] = None,
    json: Json = False,
) -> None:
    """List the methods of training, or explain one with its fields and usual values."""
    from tui_tuner.cli.reference.method_page import list_method_pages, make_method_page
    from tui_tuner.cli.reference.page_layout import write_plain
    from tui_tuner.config.kinds.methods import METHODS

    if kind is not None and kind not in METHODS:
        from tui_tuner.config.problems import suggest_nearest

        raise UsageError(
            f"{_('no method {name!r}.', name=one_line(kind, 80))}{suggest_nearest(kind, METHODS)}",
            hint=_("`tui-tuner methods` lists them."),
        )
    pages = list_method_pages() if kind is None else [make_method_page(METHODS[kind])]
    if json:
        import orjson

        shown = [asdict(page) for page in pages]
        found = shown if kind is None else shown[0]
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif kind is None:
        width = max(len(page.name) for page in pages)
        for page in pages:
            typer.echo(f"{page.name:{width}}  {page.summary}")
    else:
        columns = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
        typer.echo("\n".join(write_plain(pages[0], columns)))
