"""A list of runs, one per line, that adapts its columns to its width and keeps its cursor on refresh."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from textual.content import Content
from textual.message import Message

from tui_tuner.config.deciding import name_shown_metric
from tui_tuner.locales import N_, _
from tui_tuner.ui.screen_words import (
    describe_run_state,
    fit_screen_column,
    format_age,
    format_screen_metric,
    format_screen_number,
)
from tui_tuner.ui.widgets.changed_lines import Lines
from tui_tuner.ui.widgets.long_list import LongList

if TYPE_CHECKING:
    from pathlib import Path

    from tui_tuner.ui.run_overview import RunRow

_MARK, _STATE, _STEP, _LOSS, _AGE, _TASK = 2, 12, 13, 9, 12, 16
_TOLD, _TOLD_WIDE = 18, 30  # a state with a verdict
_JUDGED = 16  # the same as the loss, with the name of a metric
_WITH_AGE, _WITH_TASK = 64, 100  # the least width of a list with these columns
SORTS = ("", "name", "state", "loss", "best")  # sort keys; empty: newest first
SORT_WORDS = {
    "": N_("newest first"),
    "name": N_("by name"),
    "state": N_("by state"),
    "loss": N_("by loss of the last step"),
    "best": N_("by best on held-out rows"),
}


class Columns(NamedTuple):
    """The widths of the columns in cells; 0 if a column is not shown."""

    mark: int
    state: int
    name: int
    task: int
    step: int
    loss: int
    age: int

    @classmethod
    def divide_width(cls, width: int, judged: bool, marks: bool, told: bool = False) -> Columns:
        """Divide a line of `width` cells; the name gets the rest."""
        mark, loss = _MARK if marks else 0, _JUDGED if judged else _LOSS
        with_age, task = _AGE if width >= _WITH_AGE else 0, _TASK if width >= _WITH_TASK else 0
        state = (_TOLD_WIDE if task else _TOLD) if told else _STATE
        name = max(8, width - mark - state - task - _STEP - loss - with_age)
        return cls(mark, state, name, task, _STEP, loss, with_age)


class RunList(LongList):
    """A list of runs. With `marks`, the user can mark some to view them together."""

    class Divided(Message):
        """The widths of the columns have changed."""

    def __init__(self, id: str | None = None, classes: str | None = None, marks: bool = False) -> None:
        super().__init__(id=id, classes=classes)
        self.rows: list[RunRow] = []
        self.marked: dict[Path, None] = {}  # folders of runs, in the order in which they were marked
        self._marks = marks
        self._judged = self._told = False
        self._minute = 0.0

    def on_resize(self) -> None:
        self.post_message(self.Divided())

    @property
    def chosen_row(self) -> RunRow | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.cursor is not None and self.cursor < len(self.rows) else None

    @property
    def columns(self) -> Columns:
        """The current widths of its columns."""
        return Columns.divide_width(
            self.scrollable_content_region.width, self._judged, self._marks, self._told
        )

    def show_rows(self, rows: list[RunRow]) -> None:
        """Show rows; while the runs are the same, only changed lines are redrawn."""
        before, self.rows = self.rows, rows
        # Ages count from the full minute, so that all lines change together once a minute and not each at its
        # time.
        judged, minute = any(row.metric for row in rows), time.time() // 60 * 60
        told = any(row.verdict and row.state == "completed" for row in rows)
        same_runs = [row.folder.path for row in before] == [row.folder.path for row in rows]
        fresh = (judged, told) != (self._judged, self._told) or not same_runs
        self._judged, self._told = judged, told
        if fresh:
            # The cursor follows its run, whose place changes when a new run comes first.
            chosen = before[self.cursor].folder.path if self.cursor is not None and before else None
            places = {row.folder.path: place for place, row in enumerate(rows)}
            self._minute = minute
            self.show_items(len(rows), places.get(chosen, 0) if chosen is not None else 0)
            return
        for place in self.on_view:
            if before[place] is not rows[place] or minute != self._minute:
                self.refresh_item(place)
        self._minute = minute

    def toggle_mark(self) -> None:
        """Mark or unmark the run under the cursor, and move to the next."""
        row = self.chosen_row
        if row is None or self.cursor is None:
            return
        if row.folder.path in self.marked:
            del self.marked[row.folder.path]
        else:
            self.marked[row.folder.path] = None
        self.refresh_item(self.cursor)
        self.go_to(self.cursor + 1)

    def draw_item(self, index: int, width: int) -> list[Content]:
        row = self.rows[index]
        sign = "◆ " if row.folder.path in self.marked else ""
        line = format_run_line(row, width, self._judged, self._minute, self._told)
        if self._marks:
            line = format_run_line(row, width - _MARK, self._judged, self._minute, self._told)
            line = Content.assemble((fit_screen_column(sign, _MARK), "bold $accent"), line)
        return [line]


class RunHeads(Lines):
    """The column headings above a list of runs."""

    DEFAULT_CSS = "RunHeads { padding: 0 1; }"

    def show_for(self, runs: RunList, sort: str = "") -> None:
        """Show the headings for the current columns of a list."""
        if runs.rows:
            self.show_lines(make_run_heading(runs.columns, sort))
        else:
            self.show_lines(Content(""))


def format_run_line(
    row: RunRow, width: int, judged: bool = False, now: float | None = None, told: bool = False
) -> Content:
    """Format state, name and tags, step, loss and age in `width` cells; a narrow line omits the age.

    Args:
        judged: True if a run in the list is judged by another metric than the loss; its best value is shown.
        told: True if a run in the list has a verdict.
    """
    size = Columns.divide_width(width, judged, False, told)
    mark, word, colour = describe_run_state(row.state, row.verdict, short=size.state < _TOLD_WIDE)
    step = f"{row.step:,}/{row.total_steps:,}" if row.total_steps else (f"{row.step:,}" if row.step else "")
    loss = format_screen_number(row.loss, 3) if row.loss is not None else ""
    if judged and loss:
        loss = _("loss {value}", value=loss)
    if row.metric:
        value = format_screen_metric(row.metric, row.best, 3)
        loss = f"{name_shown_metric(row.metric)} {value}" if row.best is not None else ""
        # A number that is cut would be read as another number, so the metric's name gives way.
        loss = loss if cell_len(loss) < size.loss else value
    parts: list[str | Content | tuple[str, str]] = [
        (fit_screen_column(f"{mark} {word}", size.state), colour),
        _format_name(row, size.name),
    ]
    if size.task:
        parts.append((fit_screen_column(row.task, size.task - 1) + " ", "$dim"))
    parts += [(step[: size.step - 1].rjust(size.step - 1), "$dim"), loss.rjust(size.loss)]
    if size.age:
        minute = time.time() // 60 * 60 if now is None else now
        parts.append((fit_screen_column(format_age(row.when, minute), size.age - 2).rjust(size.age), "$dim"))
    return Content.assemble(*parts)


def _format_name(row: RunRow, width: int) -> Content:
    """Format the name of a run, with its tags if there is room."""
    tags = " ".join(f"#{tag}" for tag in row.tags)
    name = fit_screen_column(row.folder.name, width - 1)
    length = cell_len(name.rstrip())
    # A tag of one or two letters would say nothing.
    if not tags or width - length < 4:
        return Content(name + " ")
    return Content.assemble(
        name[: len(name.rstrip())], " ", (fit_screen_column(tags, width - length - 2), "$accent"), " "
    )


def make_run_heading(size: Columns, sort: str = "") -> Content:
    """Return the column headings, with an arrow at the sort column."""
    names = {
        "state": _("state"),
        "name": _("run"),
        "loss": _("result") if size.loss == _JUDGED else _("loss"),
        "age": _("changed"),
    }
    key = {"": "age", "best": "loss"}.get(sort, sort)
    if sort == "best":
        names["loss"] = _("best")
    names[key] = f"{names[key]} ↓"
    text = (
        " " * size.mark
        + fit_screen_column(names["state"], size.state)
        + fit_screen_column(names["name"], size.name)
    )
    text += fit_screen_column(_("task"), size.task) if size.task else ""
    text += _("step").rjust(size.step - 1) + names["loss"].rjust(size.loss)
    text += fit_screen_column(names["age"], size.age - 2).rjust(size.age) if size.age else ""
    return Content(text).stylize("$dim")
