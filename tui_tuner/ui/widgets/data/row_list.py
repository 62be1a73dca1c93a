"""The rows of a data set, two or three lines each: any number, of which those on view are drawn."""

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
from tui_tuner.ui.guard.sturdy import Works
from tui_tuner.ui.widgets.long_list import LongList

if TYPE_CHECKING:
    from tui_tuner.data.spool import Kept, RowSpool

_REST = 0.2  # seconds between two looks at what is still being read


class RowList(LongList, Works):
    """Shows the first rows at once, and any row as soon as it was read (`RowSpool`)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", _("Row"), key_display="↵"),
        Binding("slash", "search", _("Search"), key_display="/"),
        Binding("g", "go", _("Go to row"), show=False),
        Binding("b", "bad", _("Broken")),
        Binding("n", "again(1)", _("Next match"), show=False),
        Binding("N", "again(-1)", _("Previous match"), show=False, key_display="N"),
    ]

    class Asked(Message):
        """Something is to be typed, for `answered`."""

        def __init__(self, title: str, question: str, value: str, answered: Callable[[str | None], None]):
            super().__init__()
            self.title, self.question, self.value, self.answered = title, question, value, answered

    class Found(Message):
        """A search has come to its end; `index` is None where nothing was found."""

        def __init__(self, words: str, index: int | None) -> None:
            super().__init__()
            self.words, self.index = words, index

    class Searching(Message):
        """A search, or the way to a row, has come so far."""

        def __init__(self, words: str, count: int) -> None:
            super().__init__()
            self.words, self.count = words, count

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RowList.Searching)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel", lines_each=2)
        self.first: tuple[Kept, ...] = ()
        self.spool: RowSpool | None = None
        self.only_bad = False
        self.title = Content("")  # of the panel, while nothing is searched for
        self.words = ""  # that were searched for last
        self.wanted: int | None = None  # a row that is gone to as soon as it was read

    # What is in it

    def begin(self, words: Content, title: Content) -> None:
        """Wait for the rows of other data."""
        self.stop()
        self.first, self.spool, self.only_bad, self.wanted = (), None, False, None
        self.cursor = None
        self.entitle(title)
        self.await_items(words)

    def show_first(self, rows: tuple[Kept, ...]) -> None:
        """Show the first rows, while the others are read."""
        from tui_tuner.ui.widgets.data.told import lines_of

        self.first = rows
        wanted = max((lines_of(row.read.record) for row in rows), default=2)
        self.set_lines_each(wanted if self.size.height > 2 * wanted else 2)
        self.show_items(len(rows), empty=Content(""))

    def take(self, spool: RowSpool) -> None:
        """More rows were read."""
        self.spool = spool
        if self.only_bad:
            before = self.count
            self.grow(len(spool.bad))
            if not before and self.count:
                self.show_items(self.count, 0)
            elif not self.count and spool.done:
                self.show_items(0, empty=Content(_("No row is broken. b shows all again.")).stylize("$dim"))
        elif spool.count > self.count:
            self.grow(spool.count)
        if self.wanted is not None:
            self._go_on()

    def entitle(self, title: Content) -> None:
        """Have a title, unless a search stands there."""
        self.title = title
        if not self.busy:
            self.border_title = title

    @property
    def busy(self) -> bool:
        """Whether something is searched for."""
        return self.wanted is not None or any(
            worker.group == "search" and worker.is_running for worker in self.workers
        )

    def stop(self) -> None:
        """Search no more."""
        self.wanted = None
        self.workers.cancel_group(self, "search")
        self.border_title = self.title

    def place(self, index: int) -> int:
        """The row (from 0) of a line of the list."""
        if self.only_bad and self.spool is not None and index < len(self.spool.bad):
            return int(self.spool.bad[index])
        return index

    @property
    def row(self) -> int | None:
        """The row (from 0) under the cursor."""
        return self.place(self.cursor) if self.cursor is not None else None

    def kept(self, row: int) -> Kept | None:
        """A row, as far as it was read."""
        if self.spool is not None:
            try:
                return self.spool.row(row)
            except IndexError:
                pass
        return self.first[row] if row < len(self.first) else None

    def draw_item(self, index: int, width: int) -> list[Content]:
        from tui_tuner.ui.widgets.data.told import brief  # the room of the data is imported by now

        row = self.place(index)
        kept = self.kept(row)
        digits = max(3, len(f"{self.spool.count if self.spool else len(self.first):,}"))
        number, gap = f"{row + 1:>{digits},} ", " " * (digits + 1)
        if kept is None:
            return [Content(number).stylize("$dim")]
        lines = brief(kept, max(12, width - len(number)), self.lines_each)
        return [
            Content.assemble((gap if place else number, "$dim"), line) for place, line in enumerate(lines)
        ]

    # Going about

    def show_row(self, row: int) -> None:
        """Put the cursor on a row; all rows are shown again if it is not among those that are."""
        if self.only_bad:
            self._show_all(row)
        self.go_to(row)

    def _show_all(self, row: int) -> None:
        self.only_bad = False
        self.show_items(max(len(self.first), self.spool.count if self.spool else 0), row)

    def action_bad(self) -> None:
        """Show only rows that are broken, or all again."""
        row = self.row or 0
        if self.only_bad:
            self._show_all(row)
            return
        self.only_bad = True
        count = len(self.spool.bad) if self.spool is not None else 0
        done = self.spool is not None and self.spool.done
        words = _("No row is broken. b shows all again.") if done else _("No broken row so far…")
        self.show_items(count, 0, Content(words).stylize("$dim"))

    def action_go(self) -> None:
        """Ask for the number of a row."""
        self.post_message(RowList.Asked(_("Go to row"), _("The number of a row"), "", self.go_to_number))

    def go_to_number(self, text: str | None) -> None:
        """Go to a row by its number as it is typed, from 1; as soon as it was read."""
        digits = (text or "").replace(",", "").replace("_", "").strip()
        if digits.isdecimal() and int(digits):
            self.wanted = int(digits) - 1
            self._go_on()
        elif text:
            self.notify(_("Rows are numbered from 1."), severity="warning", markup=False)

    def _go_on(self) -> None:
        """Go to the row that is wanted, or as far as rows were read."""
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
            words = _("There are {n:,} rows to be looked at.", n=count)
            self.notify(words, severity="warning", markup=False)
            self.show_row(count - 1)
        else:
            words = _("to row {row:,}: {n:,} were read so far…", row=wanted + 1, n=count)
            self.border_title = Content(words)

    def action_search(self) -> None:
        """Ask for words, and go to the next row that holds them."""
        question = _("Words in a row; capitals do not count.")
        self.post_message(RowList.Asked(_("Search"), question, self.words, self.search))

    def search(self, text: str | None) -> None:
        """Go to the next row that holds words."""
        if text:
            self.words = text
            self._search_from(self.row or 0, 1)

    def action_again(self, step: int) -> None:
        """The next row that holds the words, or the one before."""
        if self.words:
            self._search_from((self.row or 0) + step, step)
        else:
            self.action_search()

    def _search_from(self, row: int, step: int) -> None:
        if self.spool is not None:
            self._search(self.spool, self.words, row, step)

    @work(thread=True, group="search", exclusive=True)
    def _search(self, spool: RowSpool, words: str, start: int, step: int) -> None:
        """Search what was read, and what is still being read."""
        worker = get_current_worker()

        def said(count: int) -> None:
            self.post_message(RowList.Searching(words, count))

        index = None
        while not worker.is_cancelled and start >= 0:
            done, count = spool.done or spool.full, spool.count
            index = spool.find(words, start, step, said, lambda: worker.is_cancelled)
            if index is not None or done or step < 0:
                break
            start = max(start, count)
            said(start)
            time.sleep(_REST)
        if not worker.is_cancelled:
            self.post_message(RowList.Found(words, index))

    def on_row_list_searching(self, message: Searching) -> None:
        if self.busy:
            words = _("looking for {words}: {n:,} rows… Esc leaves it", words=message.words, n=message.count)
            self.border_title = Content(words)

    def on_row_list_found(self, message: Found) -> None:
        self.border_title = self.title
        if message.index is None:
            words = _("No more rows hold {words}.", words=message.words)
            self.notify(words, severity="warning", markup=False)
        else:
            self.show_row(message.index)

    def work_failed(self, group: str, words: str) -> None:
        self.border_title = self.title
