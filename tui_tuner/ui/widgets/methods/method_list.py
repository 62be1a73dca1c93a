"""The table of methods: a line for each, with the columns that the width has room for."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.content import Content

from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.locales import _
from tui_tuner.planning.comparing.method_rows import (
    FILE,
    MEMORY,
    ORDERS,
    TIME,
    TRAINED,
    USUAL,
    Figures,
    MethodRow,
    rank_row,
)
from tui_tuner.text import format_bytes, format_share_percentage, one_line
from tui_tuner.ui.screen_words import fit_screen_column, format_duration_range
from tui_tuner.ui.widgets.form.plan_line import format_weight_count
from tui_tuner.ui.widgets.long_list import LongList

NONE = "–"
_WIDE = 100  # cells from which names are written out, and counts to the last digit


class Column(NamedTuple):
    """A column: its head, its cells, and the order that sorts by it."""

    head: str
    width: int
    order: str = ""


class MethodList(LongList):
    """All methods in one order. The cursor stays on its method while others are filled in around it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", _("Take")),
    ]

    def __init__(self) -> None:
        super().__init__(id="methods")
        self.order = USUAL
        self.waits = True  # for rows that are still computed
        self._rows: dict[str, MethodRow] = {}
        self._names: list[str] = []

    @property
    def marked_name(self) -> str:
        """The method under the cursor; empty if there is none."""
        return self._names[self.cursor] if self.cursor is not None else ""

    @property
    def marked_row(self) -> MethodRow | None:
        """The row under the cursor; None if it is not computed yet."""
        return self._rows.get(self.marked_name)

    @property
    def filled_rows(self) -> int:
        """How many methods are computed."""
        return len(self._rows)

    def show_methods(self, marked: str) -> None:
        """Show all methods without figures, with the cursor on one of them."""
        self._names = list(METHODS)
        place = self._names.index(marked) if marked in self._names else 0
        self.show_items(len(self._names), place)

    def add_row(self, row: MethodRow) -> None:
        """Fill in a method."""
        self._rows[row.kind.name] = row
        self._sort_names()

    def sort_next(self) -> None:
        """Sort by the next order."""
        orders = list(ORDERS)
        self.order = orders[(orders.index(self.order) + 1) % len(orders)]
        self._sort_names()

    def _sort_names(self) -> None:
        marked = self.marked_name
        self._names = sorted(METHODS, key=lambda name: rank_row(self._rows.get(name), self.order))
        self.show_items(len(self._names), self._names.index(marked) if marked else None)

    # Drawing

    def draw_head(self, width: int) -> Content:
        """Return the line of heads above the list; the column that it is sorted by stands out."""
        parts = []
        for place, column in enumerate(_list_columns(width)):
            sorted_by = column.order == self.order
            text = column.head.ljust(column.width) if not place else column.head.rjust(column.width)
            parts.append((text, "bold $primary" if sorted_by and column.order != USUAL else "$dim"))
        return Content.assemble(*parts)

    def draw_item(self, index: int, width: int) -> list[Content]:
        name = self._names[index]
        row, columns = self._rows.get(name), _list_columns(width)
        first = fit_screen_column(_name_method(name, width), columns[0].width)
        if row is None:
            return [Content.assemble(first, (f" {'…' if self.waits else NONE}", "$dim"))]
        if row.figures is None:
            room = max(8, width - columns[0].width - 3)
            reason = row.refusal.what if row.refusal is not None else ""
            why = _("needs {fields}", fields=", ".join(row.missing)) if row.missing else one_line(reason)
            return [
                Content.assemble((first, "$dim"), (" ✗ ", "$error"), (fit_screen_column(why, room), "$dim"))
            ]
        cells = _draw_figures(row, row.figures, width)
        parts: list[Content | str] = [first]
        for column, cell in zip(columns[1:], cells, strict=True):
            parts += [" " * max(0, column.width - cell_len(cell.plain)), cell]
        return [Content.assemble(*parts)]


def _list_columns(width: int) -> list[Column]:
    wide = width >= _WIDE
    return [
        Column(_("method"), 36 if wide else 14, USUAL),
        Column(_("trained"), 15 if wide else 9, TRAINED),
        Column(_("share"), 10 if wide else 9),
        Column(_("memory"), 14 if wide else 12, MEMORY),
        Column(_("time"), 10 if wide else 9, TIME),
        Column(_("file"), 12 if wide else 11, FILE),
        Column(_("merges"), 9 if wide else 7),
        Column(_("4-bit"), 8 if wide else 6),
    ]


def _name_method(name: str, width: int) -> str:
    label = _(METHODS[name].label)
    return f"{name:15}{label}" if width >= _WIDE else name


def _draw_figures(row: MethodRow, found: Figures, width: int) -> list[Content]:
    """Return the cells of a row behind its name."""
    counts = found.parameters
    count = f"{counts.trained:,}" if width >= _WIDE else format_weight_count(counts.trained)
    device = found.estimate.device
    memory = _("{gib:.2f} GiB", gib=device) if device < 100 else _("{gib:,.0f} GiB", gib=device)
    fits = (" ✓", "$success") if found.fits else (" ✗", "$error")
    seconds = found.seconds
    return [
        Content(f"~{count}" if counts.doubt else count),
        Content(format_share_percentage(counts.trained_share)),
        Content.assemble(memory, fits) if found.fits is not None else Content(memory),
        Content(NONE if seconds is None else f"~{format_duration_range(seconds, seconds)}"),
        Content(format_bytes(found.file_bytes)),
        _draw_mark(row.merges),
        _draw_mark(row.takes_quantised),
    ]


def _draw_mark(held: bool) -> Content:
    return Content("✓").stylize("$success") if held else Content(NONE).stylize("$dim")
