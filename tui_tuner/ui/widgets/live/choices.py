"""The value of every `auto` and its reason; with kernels, row counts and versions."""

from __future__ import annotations

import operator

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import N_, _
from tui_tuner.runs.event_lines import describe_kernel_entries
from tui_tuner.runs.view import RunView
from tui_tuner.ui.screen_words import (
    fit_screen_column,
    format_plain_value,
    format_screen_number,
    make_safe_line,
)


class Choices(VerticalScroll):
    """A text that is drawn again when one of its sources has changed."""

    DEFAULT_CSS = "Choices { height: 1fr; padding: 0 1; } Choices > Static { height: auto; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._sources: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(Content(_("Nothing has been decided yet.")), classes="dim")

    def show_choices(self, view: RunView) -> None:
        """Show the choices made so far."""
        sources = (view.resolved, view.ledger, view.device, view.kernels)
        # Views are folded without copying unchanged parts, so identity is enough.
        if self._sources and all(map(operator.is_, sources, self._sources)):
            return
        self._sources = sources
        lines = [*_list_resolved(view), *_list_kernels(view), *_list_ledger(view), *_list_versions(view)]
        self.query_one(Static).update(
            Content("\n").join(lines) if lines else Content(_("Nothing has been decided yet."))
        )


def _list_resolved(view: RunView) -> list[Content]:
    return [
        Content.assemble(
            (fit_screen_column(field, 32), "$dim"),
            " ",
            (format_plain_value(value), "bold"),
            ("  " + make_safe_line(why).plain, "$dim"),
        )
        for field, (value, why) in view.resolved.items()
    ]


def _list_kernels(view: RunView) -> list[Content]:
    """List the kernel of each part of the model, and why no faster one is used."""
    return [
        Content.assemble(
            (fit_screen_column(_("kernel: {part}", part=part), 32), "$dim"),
            " ",
            (kernel, "bold"),
            (f"  {why}", "$dim"),
        )
        for part, kernel, why in describe_kernel_entries(view.kernels)
    ]


def _list_ledger(view: RunView) -> list[Content]:
    counts = {N_("read"): view.ledger.read, **view.ledger.outcomes} if view.ledger is not None else {}
    parts = [
        f"{_(make_safe_line(name).plain)} {format_screen_number(count)}"
        for name, count in counts.items()
        if isinstance(count, int) and count
    ]
    return (
        [Content.assemble((fit_screen_column(_("rows"), 32), "$dim"), " ", ", ".join(parts))] if parts else []
    )


def _list_versions(view: RunView) -> list[Content]:
    found = [(_("device"), view.device), *view.versions.items()] if view.device or view.versions else []
    text = ", ".join(f"{make_safe_line(name).plain} {make_safe_line(value).plain}" for name, value in found)
    return [Content.assemble((fit_screen_column(_("made with"), 32), "$dim"), " ", text)] if text else []
