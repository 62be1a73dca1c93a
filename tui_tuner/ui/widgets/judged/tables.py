"""The tables of a run's evaluations: those of the best one, and beside them how it began."""

from __future__ import annotations

from typing import NamedTuple

from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from tui_tuner.evaluation.tables import CONFUSION, Grid, read_grid, title_of
from tui_tuner.locales import _
from tui_tuner.runs.view import RunView
from tui_tuner.ui.widgets.judged.class_table import figures_content
from tui_tuner.ui.widgets.judged.fitted import Fitted
from tui_tuner.ui.widgets.judged.matrix import confusion_content


class Compared(NamedTuple):
    """A table of the best evaluation (or the newest), and the same of the first where that is another."""

    step: int
    grid: Grid
    before: Grid | None


def chosen_tables(view: RunView) -> list[Compared]:
    """The tables to show, as they came."""
    steps = {table.step for table in view.tables}
    if not steps:
        return []
    best, first = view.best_step(), min(steps)
    step = best if best in steps else max(steps)
    before = {table.name: read_grid(table) for table in view.tables if table.step == first != step}
    grids = [read_grid(table) for table in view.tables if table.step == step]
    return [Compared(step or 0, grid, before.get(grid.name)) for grid in grids if grid.rows and grid.columns]


class Tables(Vertical):
    """Each table with its title; beside a confusion matrix the one before training, if there is room."""

    DEFAULT_CSS = """
    Tables { height: auto; display: none; }
    Tables.-any { display: block; }
    Tables > Vertical { height: auto; padding-bottom: 1; }
    Tables Horizontal { height: auto; }
    Tables .before { display: none; padding-right: 3; }
    """

    def on_mount(self) -> None:
        self.border_title = Content(_("Held-out rows"))

    async def show(self, tables: list[Compared]) -> None:
        """Draw these instead of what is there."""
        await self.remove_children()
        self.set_class(bool(tables), "-any")
        if tables:
            self.border_title = Content(_("Held-out rows at step {step:,}", step=tables[0].step))
        await self.mount_all(_one(table) for table in tables)


def _one(table: Compared) -> Vertical:
    grid, before = table.grid, table.before
    if grid.name != CONFUSION:
        figures = Fitted(lambda width: figures_content(grid, width))
        return Vertical(Static(Content(title_of(grid.name)).stylize("$primary")), figures)
    parts = [Fitted(lambda width: _titled(_("after training"), grid, width))]
    if before is not None:
        parts.insert(0, Fitted(lambda width: _titled(_("before training"), before, width), classes="before"))
    return Vertical(Static(Content(title_of(grid.name)).stylize("$primary")), Horizontal(*parts))


def _titled(words: str, grid: Grid, width: int) -> Content:
    return Content("\n").join([Content(words).stylize("$dim"), confusion_content(grid, width)])
