"""What every `auto` of the config became, and why; with kernels, rows of the ledger and versions."""

from __future__ import annotations

import operator

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import N_, _
from tui_tuner.runs.told import kernels_told
from tui_tuner.runs.view import RunView
from tui_tuner.ui.words import column, figure, plain_value, safe


class Choices(VerticalScroll):
    """Text only; drawn anew when one of its sources has changed."""

    DEFAULT_CSS = "Choices { height: 1fr; padding: 0 1; } Choices > Static { height: auto; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._sources: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(Content(_("Nothing was decided yet.")), classes="dim")

    def show(self, view: RunView) -> None:
        """Draw what is known."""
        sources = (view.resolved, view.ledger, view.device, view.kernels)
        if self._sources and all(map(operator.is_, sources, self._sources)):
            return
        self._sources = sources
        lines = [*_resolved(view), *_kernels(view), *_ledger(view), *_versions(view)]
        self.query_one(Static).update(
            Content("\n").join(lines) if lines else Content(_("Nothing was decided yet."))
        )


def _resolved(view: RunView) -> list[Content]:
    return [
        Content.assemble(
            (column(field, 32), "$dim"), " ", (plain_value(value), "bold"), ("  " + safe(why).plain, "$dim")
        )
        for field, (value, why) in view.resolved.items()
    ]


def _kernels(view: RunView) -> list[Content]:
    """What computes each part of the model, and why nothing faster."""
    return [
        Content.assemble(
            (column(_("kernel: {part}", part=part), 32), "$dim"), " ", (kernel, "bold"), (f"  {why}", "$dim")
        )
        for part, kernel, why in kernels_told(view.kernels)
    ]


def _ledger(view: RunView) -> list[Content]:
    counts = {N_("read"): view.ledger.read, **view.ledger.outcomes} if view.ledger is not None else {}
    parts = [
        f"{_(safe(name).plain)} {figure(count)}"
        for name, count in counts.items()
        if isinstance(count, int) and count
    ]
    return [Content.assemble((column(_("rows"), 32), "$dim"), " ", ", ".join(parts))] if parts else []


def _versions(view: RunView) -> list[Content]:
    found = [(_("device"), view.device), *view.versions.items()] if view.device or view.versions else []
    text = ", ".join(f"{safe(name).plain} {safe(value).plain}" for name, value in found)
    return [Content.assemble((column(_("made with"), 32), "$dim"), " ", text)] if text else []
