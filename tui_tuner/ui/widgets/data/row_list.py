"""The rows of a data set, two or three lines each; only visible ones are drawn, however many there are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.locales import _
from tui_tuner.ui.guard.sturdy import WorkerOwner
from tui_tuner.ui.widgets.long_list import LongList

if TYPE_CHECKING:
    from tui_tuner.data.spool import RowSpool, SpooledRow

_REST = 0.2  # seconds between two searches of rows that are still being read


class RowList(LongList, WorkerOwner):
    """Shows the first rows at once, and others as soon as they are read (`RowSpool`)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", _("Row"), key_display="↵"),
        Binding("slash", "search", _("Search"), key_display="/"),
        Binding("g", "go", _("Go to row"), show=False),
        Binding("b", "bad", _("Broken")),
        Binding("n", "again(1)", _("Next match"), show=False),
        Binding("N", "again(-1)", _("Previous match"), show=False, key_display="N"),
    ]

    class Asked(Message):
        """Asks the user for a text, which is passed to `answered`."""

        def __init__(self, title: str, question: str, value: str, answered: Callable[[str | None], None]):
            super().__init__()
            self.title, self.question, self.value, self.answered = title, question, value, answered

    class Found(Message):
        """A search has ended; `index` is None if nothing was found."""

        def __init__(self, words: str, index: int | None) -> None:
            super().__init__()
            self.words, self.index = words, index

    class Searching(Message):
        """The progress of a search, in rows."""

        def __init__(self, words: str, count: int) -> None:
            super().__init__()
            self.words, self.count = words, count

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RowList.Searching)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel", lines_each=2)
        self.first: tuple[SpooledRow, ...] = ()
        self.spool: RowSpool | None = None
        self.only_bad = False
        self.title = Content("")  # the title of the panel while no search is running
        self.words = ""  # the words of the last search
        self.wanted: int | None = None  # the row to go to as soon as it is read

    # Items

    def begin_data(self, words: Content, title: Content) -> None:
        """Wait for the rows of another data set."""
        self.stop_search()
        self.first, self.spool, self.only_bad, self.wanted = (), None, False, None
        self.cursor = None
        self.set_title(title)
        self.await_items(words)

    def show_first(self, rows: tuple[SpooledRow, ...]) -> None:
        """Show the first rows while the others are read."""
        from tui_tuner.ui.widgets.data.row_text import count_row_lines

        self.first = rows
        # Only where at least a few rows still fit: two lines each are enough to recognise a row.
        wanted = max((count_row_lines(row.read.record) for row in rows), default=2)
        self.set_lines_each(wanted if self.size.height > 2 * wanted else 2)
        self.show_items(len(rows), empty=Content(""))

    def take_rows(self, spool: RowSpool) -> None:
        """Take over rows that were read since."""
        self.spool = spool
        if self.only_bad:
            before = self.count
            self.grow_to(len(spool.bad))
            # The list was empty, so it has no cursor yet.
            if not before and self.count:
                self.show_items(self.count, 0)
            elif not self.count and spool.done:
                self.show_items(0, empty=Content(_("No row is broken. Press b to show all.")).stylize("$dim"))
        elif spool.count > self.count:
            self.grow_to(spool.count)
        if self.wanted is not None:
            self._go_to_wanted()

    def set_title(self, title: Content) -> None:
        """Set the title; a running search is shown in its place."""
        self.title = title
        if not self.is_searching:
            self.border_title = title

    @property
    def is_searching(self) -> bool:
        """True while a search is running."""
        return self.wanted is not None or any(
            worker.group == "search" and worker.is_running for worker in self.workers
        )

    def stop_search(self) -> None:
        """Stop the search."""
        self.wanted = None
        self.workers.cancel_group(self, "search")
        self.border_title = self.title

    def find_row(self, index: int) -> int:
        """Return the row (from 0) of a line of the list."""
        if self.only_bad and self.spool is not None and index < len(self.spool.bad):
            return int(self.spool.bad[index])
        return index

    @property
    def current_row(self) -> int | None:
        """The row (from 0) under the cursor."""
        return self.find_row(self.cursor) if self.cursor is not None else None

    def find_kept(self, row: int) -> SpooledRow | None:
        """Return a row if it was read already."""
        if self.spool is not None:
            try:
                return self.spool.read_row(row)
            except IndexError:
                pass
        return self.first[row] if row < len(self.first) else None

    def draw_item(self, index: int, width: int) -> list[Content]:
        from tui_tuner.ui.widgets.data.row_text import (
            format_row_briefly,  # `tui_tuner.data` is imported by now
        )

        row = self.find_row(index)
        kept = self.find_kept(row)
        digits = max(3, len(f"{self.spool.count if self.spool else len(self.first):,}"))
        number, gap = f"{row + 1:>{digits},} ", " " * (digits + 1)
        if kept is None:
            return [Content(number).stylize("$dim")]
        lines = format_row_briefly(kept, max(12, width - len(number)), self.lines_each)
        return [
            Content.assemble((gap if place else number, "$dim"), line) for place, line in enumerate(lines)
        ]

    # Navigation

    def show_row(self, row: int) -> None:
        """Move the cursor to a row, showing all rows again if only broken ones were shown."""
        if self.only_bad:
            self._show_all(row)
        self.go_to(row)

    def _show_all(self, row: int) -> None:
        self.only_bad = False
        self.show_items(max(len(self.first), self.spool.count if self.spool else 0), row)

    def action_bad(self) -> None:
        """Show only broken rows, or all again."""
        row = self.current_row or 0
        if self.only_bad:
            self._show_all(row)
            return
        self.only_bad = True
        count = len(self.spool.bad) if self.spool is not None else 0
        done = self.spool is not None and self.spool.done
        words = _("No row is broken. Press b to show all.") if done else _("No broken row so far…")
        self.show_items(count, 0, Content(words).stylize("$dim"))

    def action_go(self) -> None:
        """Ask for the number of a row."""
        self.post_message(RowList.Asked(_("Go to row"), _("The number of a row"), "", self.go_to_number))

    def go_to_number(self, text: str | None) -> None:
        """Go to a row by its typed number (from 1) as soon as it is read."""
        digits = (text or "").replace(",", "").replace("_", "").strip()
        if digits.isdecimal() and int(digits):
            self.wanted = int(digits) - 1
            self._go_to_wanted()
        elif text:
            self.notify(_("Rows are numbered from 1."), severity="warning", markup=False)

    def _go_to_wanted(self) -> None:
        """Go to the wanted row if it was read, or to the last one if it does not exist."""
        wanted, spool = self.wanted, self.spool
        count = max(len(self.first), spool.count if spool is not None else 0)
        if wanted is None:
            return
        if wanted < count:
            self.wanted = None
            self.border_title = self.title
            self.show_row(wanted)
        elif spool is not None and (spool.done or spool.full):
            self.wanted = None
            self.border_title = self.title
            words = _("Only {n:,} rows can be shown.", n=count)
            self.notify(words, severity="warning", markup=False)
            self.show_row(count - 1)
        else:
            words = _("going to row {row:,}: {n:,} read so far…", row=wanted + 1, n=count)
            self.border_title = Content(words)

    def action_search(self) -> None:
        """Ask for words and go to the next row that contains them."""
        question = _("Words in a row; case does not matter.")
        self.post_message(RowList.Asked(_("Search"), question, self.words, self.search_words))

    def search_words(self, text: str | None) -> None:
        """Go to the next row that contains the words."""
        if text:
            self.words = text
            self._search_from(self.current_row or 0, 1)

    def action_again(self, step: int) -> None:
        """Go to the next or previous row that contains the words."""
        if self.words:
            self._search_from((self.current_row or 0) + step, step)
        else:
            self.action_search()

    def _search_from(self, row: int, step: int) -> None:
        if self.spool is not None:
            self._search_rows(self.spool, self.words, row, step)

    @work(thread=True, group="search", exclusive=True)
    def _search_rows(self, spool: RowSpool, words: str, start: int, step: int) -> None:
        """Search the rows that were read, and those still being read."""
        worker = get_current_worker()

        def report_count(count: int) -> None:
            self.post_message(RowList.Searching(words, count))

        index = None
        while not worker.is_cancelled and start >= 0:
            # Asked before the search: rows that arrive during it are searched in the next round.
            done, count = spool.done or spool.full, spool.count
            index = spool.find_words(words, start, step, report_count, lambda: worker.is_cancelled)
            if index is not None or done or step < 0:
                break
            start = max(start, count)
            report_count(start)
            time.sleep(_REST)
        if not worker.is_cancelled:
            self.post_message(RowList.Found(words, index))

    def on_row_list_searching(self, message: Searching) -> None:
        if self.is_searching:
            words = _("searching for {words}: {n:,} rows… Esc stops", words=message.words, n=message.count)
            self.border_title = Content(words)

    def on_row_list_found(self, message: Found) -> None:
        self.border_title = self.title
        if message.index is None:
            words = _("No more rows contain {words}.", words=message.words)
            self.notify(words, severity="warning", markup=False)
        else:
            self.show_row(message.index)

    def work_failed(self, group: str, words: str) -> None:
        self.border_title = self.title
