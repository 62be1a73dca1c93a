"""The tables of a run's best evaluation, next to those of the first one."""

from __future__ import annotations

from typing import NamedTuple

from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from tui_tuner.evaluation.evaluation_tables import (
    CONFUSION,
    TableGrid,
    format_table_title,
    read_evaluation_table,
)
from tui_tuner.locales import _
from tui_tuner.runs.view import RunView
from tui_tuner.ui.widgets.judged.class_table import draw_class_figures
from tui_tuner.ui.widgets.judged.confusion_matrix import draw_confusion_matrix
from tui_tuner.ui.widgets.judged.fitted_text import Fitted


class ComparedTable(NamedTuple):
    """A table of the best (or newest) evaluation, and the same of the first one if that is another."""

    step: int
    grid: TableGrid
    before: TableGrid | None


def choose_shown_tables(view: RunView) -> list[ComparedTable]:
    """Return the tables to show, in their order."""
    steps = {table.step for table in view.tables}
    if not steps:
        return []
    best, first = view.best_step(), min(steps)
    step = best if best in steps else max(steps)
    before = {
        table.name: read_evaluation_table(table) for table in view.tables if table.step == first != step
    }
    grids = [read_evaluation_table(table) for table in view.tables if table.step == step]
    return [
        ComparedTable(step or 0, grid, before.get(grid.name)) for grid in grids if grid.rows and grid.columns
    ]


class Tables(Vertical):
    """Tables with titles; next to a confusion matrix the one before training, if there is room."""

    DEFAULT_CSS = """
    Tables { height: auto; display: none; }
    Tables.-any { display: block; }
    Tables > Vertical { height: auto; padding-bottom: 1; }
    Tables Horizontal { height: auto; }
    Tables .before { display: none; padding-right: 3; }
    """

    def on_mount(self) -> None:
        self.border_title = Content(_("Held-out rows"))

    async def show_tables(self, tables: list[ComparedTable]) -> None:
        """Replace the tables."""
        await self.remove_children()
        self.set_class(bool(tables), "-any")
        if tables:
            self.border_title = Content(_("Held-out rows at step {step:,}", step=tables[0].step))
        await self.mount_all(_make_table(table) for table in tables)


def _make_table(table: ComparedTable) -> Vertical:
    grid, before = table.grid, table.before
    if grid.name != CONFUSION:
        figures = Fitted(lambda width: draw_class_figures(grid, width))
        return Vertical(Static(Content(format_table_title(grid.name)).stylize("$primary")), figures)
    parts = [Fitted(lambda width: _add_title(_("after training"), grid, width))]
    if before is not None:
        parts.insert(
            0, Fitted(lambda width: _add_title(_("before training"), before, width), classes="before")
        )
    return Vertical(Static(Content(format_table_title(grid.name)).stylize("$primary")), Horizontal(*parts))


def _add_title(words: str, grid: TableGrid, width: int) -> Content:
    return Content("\n").join([Content(words).stylize("$dim"), draw_confusion_matrix(grid, width)])
