"""One row in full: its turns, tools and reasoning, and the parts of it that are not used."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize

from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.long_list import LongList

if TYPE_CHECKING:
    from tui_tuner.ui.widgets.data.row_list import RowList


class RowText(LongList):
    """The lines of a row; the arrow keys scroll."""

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
        """Replace the lines; scroll to the top unless `stay`."""
        self.lines = lines
        self.show_items(len(lines))
        if not stay:
            self.scroll_home(animate=False)

    def draw_item(self, index: int, width: int) -> list[Content]:
        return [self.lines[index]] if index < len(self.lines) else []


class RowScreen(TunerScreen):
    """A row of a list of rows, with keys for its neighbours."""

    HELP_TEXT = _(
        "A row as it was read: every turn, the tools, and the parts of its file that are not used.\n"
        "→ shows the next row of the list, ← the previous one; both skip the others while only broken rows "
        "are listed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
    ]

    def __init__(self, rows: RowList) -> None:
        super().__init__()
        self._rows = rows

    def build_crumb(self) -> Content:
        return Content.assemble((_("Data") + " › ", "$dim"), _("row"))

    def compose_body(self) -> ComposeResult:
        yield RowText(id="text")

    def on_mount(self) -> None:
        self.query_one(RowText).focus()
        self.call_after_refresh(self._show_row)

    def on_resize(self, _event: Resize) -> None:
        # The width below is known only once the new size is laid out.
        self.call_after_refresh(self._show_row, True)

    def _show_row(self, stay: bool = False) -> None:
        from tui_tuner.ui.widgets.data.row_text import format_whole_row

        text, row = self.query_one(RowText), self._rows.current_row
        kept = self._rows.find_kept(row) if row is not None else None
        if kept is None or row is None:
            return
        width = max(20, text.scrollable_content_region.width - 1)
        text.show_lines(format_whole_row(kept, width), stay)
        of = self._rows.count
        if self._rows.only_bad:
            words = _("row {row:,}, one of {n:,} broken ones", row=row + 1, n=of)
        else:
            words = _("row {row:,} of {n:,}", row=row + 1, n=of)
        text.border_title = Content.assemble(words, ("  " + one_line(kept.read.row.origin, 60), "$dim"))

    def action_step(self, step: int) -> None:
        if self._rows.cursor is not None:
            before = self._rows.cursor
            self._rows.go_to(before + step)
            # At either end of the list the cursor does not move: drawing the same row would lose the scroll
            # position.
            if self._rows.cursor != before:
                self._show_row()
