"""One row, whole: all turns, tools, what its author thought, and what nothing is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.widgets.long_list import LongList

if TYPE_CHECKING:
    from tui_tuner.ui.widgets.data.row_list import RowList


class RowText(LongList):
    """The lines of a row; the cursor keys scroll."""

    has_cursor = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "screen.step(-1)", _("Previous row")),
        Binding("right", "screen.step(1)", _("Next row")),
    ]
    DEFAULT_CSS = "RowText { padding: 0 1; margin: 1 0 0 0; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self.lines: list[Content] = []

    def show_lines(self, lines: list[Content], stay: bool = False) -> None:
        """Show other lines, from the top, or from where one is."""
        self.lines = lines
        self.show_items(len(lines))
        if not stay:
            self.scroll_home(animate=False)

    def draw_item(self, index: int, width: int) -> list[Content]:
        return [self.lines[index]] if index < len(self.lines) else []


class RowScreen(TunerScreen):
    """A row of a list of rows, and the ones beside it."""

    HELP_TEXT = _(
        "A row as it was read: every turn, the tools, and what stands in its file and is not used.\n"
        "→ shows the next row of the list, ← the one before; where only broken rows are listed, of those."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
    ]

    def __init__(self, rows: RowList) -> None:
        super().__init__()
        self._rows = rows

    def crumb(self) -> Content:
        return Content.assemble((_("Data") + " › ", "$dim"), _("row"))

    def body(self) -> ComposeResult:
        yield RowText(id="text")

    def on_mount(self) -> None:
        self.query_one(RowText).focus()
        self.call_after_refresh(self._show)

    def on_resize(self, _event: Resize) -> None:
        self.call_after_refresh(self._show, True)

    def _show(self, stay: bool = False) -> None:
        from tui_tuner.ui.widgets.data.told import whole

        text, row = self.query_one(RowText), self._rows.row
        kept = self._rows.kept(row) if row is not None else None
        if kept is None or row is None:
            return
        width = max(20, text.scrollable_content_region.width - 1)
        text.show_lines(whole(kept, width), stay)
        of = self._rows.count
        if self._rows.only_bad:
            words = _("row {row:,}, one of {n:,} broken ones", row=row + 1, n=of)
        else:
            words = _("row {row:,} of {n:,}", row=row + 1, n=of)
        text.border_title = Content.assemble(words, ("  " + one_line(kept.read.row.origin, 60), "$dim"))

    def action_step(self, step: int) -> None:
        """Another row."""
        if self._rows.cursor is not None:
            before = self._rows.cursor
            self._rows.go_to(before + step)
            if self._rows.cursor != before:
                self._show()
