"""A list of runs, a line each, that fits its columns to its width and keeps its cursor through refreshes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tui_tuner.config.deciding import metric_name
from tui_tuner.locales import _
from tui_tuner.ui.words import STATES, age, column, figure, measured

if TYPE_CHECKING:
    from tui_tuner.ui.overview import RunRow

_STATE, _STEP, _LOSS, _AGE = 12, 13, 9, 12
_JUDGED = 16  # the same as the loss, with the name of a metric


class RunList(OptionList):
    """Rows of runs; the id of an option is the run's folder."""

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.rows: list[RunRow] = []
        self._shown: list[str] = []

    def on_resize(self) -> None:
        self._draw(force=True)

    def show(self, rows: list[RunRow]) -> None:
        """Draw these rows; only lines that differ are touched while the runs are the same."""
        self.rows = rows
        self._draw()

    @property
    def chosen(self) -> RunRow | None:
        """The row under the cursor."""
        index = self.highlighted
        return self.rows[index] if index is not None and index < len(self.rows) else None

    def _draw(self, force: bool = False) -> None:
        width = self.scrollable_content_region.width or self.size.width
        if not width:
            return
        judged = any(row.metric for row in self.rows)
        lines = [run_line(row, width, judged) for row in self.rows]
        plain = [line.plain for line in lines]
        ids = [str(row.folder.path) for row in self.rows]
        if ids == [option.id for option in self.options]:
            for index, line in enumerate(lines):
                if force or plain[index] != self._shown[index]:
                    self.replace_option_prompt_at_index(index, line)
        else:
            kept = self.highlighted_option.id if self.highlighted_option else None
            self.clear_options()
            self.add_options(Option(line, id) for line, id in zip(lines, ids, strict=True))
            self.highlighted = ids.index(kept) if kept in ids else (0 if ids else None)
        self._shown = plain


def run_line(row: RunRow, width: int, judged: bool = False) -> Content:
    """State, name, step, loss and age in `width` cells; a narrow line leaves the age out.

    Args:
        judged: Whether some run of the list is judged by another metric than the loss: its best stands there.
    """
    mark, word, colour = STATES.get(row.state, ("·", row.state, "$dim"))
    with_age = width >= 64
    loss_width = _JUDGED if judged else _LOSS
    name_width = max(8, width - _STATE - _STEP - loss_width - (_AGE if with_age else 0))
    step = f"{row.step:,}/{row.total_steps:,}" if row.total_steps else (f"{row.step:,}" if row.step else "")
    loss = figure(row.loss, 3) if row.loss is not None else ""
    if row.metric:
        value = measured(row.metric, row.best, 3)
        loss = f"{metric_name(row.metric)} {value}" if row.best is not None else ""
        loss = loss if cell_len(loss) < loss_width else value
    parts: list[str | tuple[str, str]] = [
        (column(f"{mark} {word}", _STATE), colour),
        column(row.folder.name, name_width - 1) + " ",
        (step[: _STEP - 1].rjust(_STEP - 1), "$dim"),
        loss.rjust(loss_width),
    ]
    if with_age:
        minute = (
            time.time() // 60 * 60
        )  # the ages of all lines change together: one repaint, not one for each
        parts.append((column(age(row.when, minute), _AGE - 2).rjust(_AGE), "$dim"))
    return Content.assemble(*parts)


def heading(width: int) -> Content:
    """The names of the columns, over `run_line`."""
    with_age = width >= 64
    name_width = max(8, width - _STATE - _STEP - _LOSS - (_AGE if with_age else 0))
    text = column(_("state"), _STATE) + column(_("run"), name_width) + _("step").rjust(_STEP - 1)
    text += _("loss").rjust(_LOSS) + (_("changed").rjust(_AGE) if with_age else "")
    return Content(text).stylize("$dim")
