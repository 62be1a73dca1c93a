"""A list of runs, a line each, that fits its columns to its width and keeps its cursor through refreshes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from textual.content import Content
from textual.message import Message

from tui_tuner.config.deciding import metric_name
from tui_tuner.locales import N_, _
from tui_tuner.ui.widgets.changed import Lines
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.words import age, column, figure, measured, state_words

if TYPE_CHECKING:
    from pathlib import Path

    from tui_tuner.ui.overview import RunRow

_MARK, _STATE, _STEP, _LOSS, _AGE, _TASK = 2, 12, 13, 9, 12, 16
_TOLD, _TOLD_WIDE = 18, 30  # a state with a verdict
_JUDGED = 16  # the same as the loss, with the name of a metric
_WITH_AGE, _WITH_TASK = 64, 100  # cells of a list from which on these columns have room
SORTS = ("", "name", "state", "loss", "best")  # what a list is sorted by; nothing: as it comes, newest first
SORT_WORDS = {
    "": N_("newest first"),
    "name": N_("by name"),
    "state": N_("by state"),
    "loss": N_("by loss of the last step"),
    "best": N_("by best on held-out rows"),
}


class Columns(NamedTuple):
    """The cells of the columns; 0 where one has no room or nothing to say."""

    mark: int
    state: int
    name: int
    task: int
    step: int
    loss: int
    age: int

    @classmethod
    def of(cls, width: int, judged: bool, marks: bool, told: bool = False) -> Columns:
        """How a line of so many cells is divided; the name takes what is left."""
        mark, loss = _MARK if marks else 0, _JUDGED if judged else _LOSS
        with_age, task = _AGE if width >= _WITH_AGE else 0, _TASK if width >= _WITH_TASK else 0
        state = (_TOLD_WIDE if task else _TOLD) if told else _STATE
        name = max(8, width - mark - state - task - _STEP - loss - with_age)
        return cls(mark, state, name, task, _STEP, loss, with_age)


class RunList(LongList):
    """Rows of runs. With `marks`, some can be marked to be looked at together."""

    class Divided(Message):
        """The columns are of another width now."""

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
    def chosen(self) -> RunRow | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.cursor is not None and self.cursor < len(self.rows) else None

    @property
    def columns(self) -> Columns:
        """How its lines are divided now."""
        return Columns.of(self.scrollable_content_region.width, self._judged, self._marks, self._told)

    def show(self, rows: list[RunRow]) -> None:
        """Draw these rows; only lines that differ are touched while the runs are the same."""
        before, self.rows = self.rows, rows
        judged, minute = any(row.metric for row in rows), time.time() // 60 * 60
        told = any(row.verdict and row.state == "completed" for row in rows)
        same_runs = [row.folder.path for row in before] == [row.folder.path for row in rows]
        fresh = (judged, told) != (self._judged, self._told) or not same_runs
        self._judged, self._told = judged, told
        if fresh:
            chosen = before[self.cursor].folder.path if self.cursor is not None and before else None
            places = {row.folder.path: place for place, row in enumerate(rows)}
            self._minute = minute
            self.show_items(len(rows), places.get(chosen, 0) if chosen is not None else 0)
            return
        for place in self.on_view:
            if before[place] is not rows[place] or minute != self._minute:
                self.refresh_item(place)
        self._minute = minute  # the ages of all lines change together: one repaint, not one for each

    def toggle_mark(self) -> None:
        """Mark the run under the cursor, or unmark it, and go on to the next."""
        row = self.chosen
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
        line = run_line(row, width, self._judged, self._minute, self._told)
        if self._marks:
            line = run_line(row, width - _MARK, self._judged, self._minute, self._told)
            line = Content.assemble((column(sign, _MARK), "bold $accent"), line)
        return [line]


class RunHeads(Lines):
    """The names of the columns, over a list of runs."""

    DEFAULT_CSS = "RunHeads { padding: 0 1; }"

    def show_for(self, runs: RunList, sort: str = "") -> None:
        """The columns as that list has them now."""
        if runs.rows:
            self.show(heading(runs.columns, sort))
        else:
            self.show(Content(""))


def run_line(
    row: RunRow, width: int, judged: bool = False, now: float | None = None, told: bool = False
) -> Content:
    """State, name and tags, step, loss and age in `width` cells; a narrow line leaves the age out.

    Args:
        judged: Whether some run of the list is judged by another metric than the loss: its best stands there.
        told: Whether of some run of the list there is a verdict.
    """
    size = Columns.of(width, judged, False, told)
    mark, word, colour = state_words(row.state, row.verdict, short=size.state < _TOLD_WIDE)
    step = f"{row.step:,}/{row.total_steps:,}" if row.total_steps else (f"{row.step:,}" if row.step else "")
    loss = figure(row.loss, 3) if row.loss is not None else ""
    if judged and loss:
        loss = _("loss {value}", value=loss)
    if row.metric:
        value = measured(row.metric, row.best, 3)
        loss = f"{metric_name(row.metric)} {value}" if row.best is not None else ""
        loss = loss if cell_len(loss) < size.loss else value
    parts: list[str | Content | tuple[str, str]] = [
        (column(f"{mark} {word}", size.state), colour),
        _named(row, size.name),
    ]
    if size.task:
        parts.append((column(row.task, size.task - 1) + " ", "$dim"))
    parts += [(step[: size.step - 1].rjust(size.step - 1), "$dim"), loss.rjust(size.loss)]
    if size.age:
        minute = time.time() // 60 * 60 if now is None else now
        parts.append((column(age(row.when, minute), size.age - 2).rjust(size.age), "$dim"))
    return Content.assemble(*parts)


def _named(row: RunRow, width: int) -> Content:
    """The name of a run, and its tags where there is room left."""
    tags = " ".join(f"#{tag}" for tag in row.tags)
    name = column(row.folder.name, width - 1)
    length = cell_len(name.rstrip())
    if not tags or width - length < 4:
        return Content(name + " ")
    return Content.assemble(
        name[: len(name.rstrip())], " ", (column(tags, width - length - 2), "$accent"), " "
    )


def heading(size: Columns, sort: str = "") -> Content:
    """The names of the columns, with an arrow at the one that the list is sorted by."""
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
    text = " " * size.mark + column(names["state"], size.state) + column(names["name"], size.name)
    text += column(_("task"), size.task) if size.task else ""
    text += _("step").rjust(size.step - 1) + names["loss"].rjust(size.loss)
    text += column(names["age"], size.age - 2).rjust(size.age) if size.age else ""
    return Content(text).stylize("$dim")
