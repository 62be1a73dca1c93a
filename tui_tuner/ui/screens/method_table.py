"""All methods for the draft's model and the chosen GPU, next to each other."""

from __future__ import annotations

import copy
import time
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from tui_tuner.config.advice import format_error_words
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.planning.comparing.method_rows import ORDERS, MethodRow
from tui_tuner.planning.row_counting import RowCount
from tui_tuner.ui import planlook
from tui_tuner.ui.form_values import find_draft_value
from tui_tuner.ui.screen_words import make_safe_block, make_safe_line
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.long_list import LongList
from tui_tuner.ui.widgets.methods.method_about import describe_method
from tui_tuner.ui.widgets.methods.method_list import MethodList
from tui_tuner.ui.widgets.topbar import TopBar


class MethodCompared(Message):
    """The row of one method, and the row counts of the data that its time is based on."""

    def __init__(self, row: MethodRow, counted: RowCount) -> None:
        super().__init__()
        self.row, self.counted = row, counted


class ComparisonFailed(Message):
    """Why nothing can be compared."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words


class MethodTableScreen(TunerScreen):
    """Gives the values that the chosen method puts into the settings; None if none was chosen."""

    HELP_TEXT = _(
        "Each method with your other settings: how many weights it trains, the memory at the peak of a step, "
        "the time of the run, and the size of what is saved. Memory, time and size are predictions; ✓ and ✗ "
        "say whether it fits the card.\n"
        "merges: the result can become a part of the model's weights. 4-bit: it can be trained on a model in "
        "4 or 8 bits.\n"
        "Enter puts the method under the cursor into the settings. Methods that this task or model cannot "
        "have are listed last, with the reason."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", _("Back")),
        Binding("f7", "back", "", show=False),
        Binding("s", "sort", _("Sort")),
        Binding("space", "read_on", _("Read on")),
    ]
    DEFAULT_CSS = """
    MethodTableScreen #heads { height: 1; padding: 0 1; margin-top: 1; }
    MethodTableScreen MethodList { padding: 0 0 0 1; }
    MethodTableScreen #about { height: 9; }
    MethodTableScreen.-tall #about { height: 14; }
    MethodTableScreen #about Static { height: auto; }
    """

    def __init__(self, draft: dict[str, Any], card: str) -> None:
        super().__init__()
        self._draft, self._card = copy.deepcopy(draft), card
        self._counted: RowCount | None = None
        self._began = time.monotonic()
        self._failed = False

    @property
    def _list(self) -> MethodList:
        return self.query_one(MethodList)

    def build_crumb(self) -> Content:
        return Content(_("Methods"))

    def compose_body(self) -> ComposeResult:
        yield Static(id="heads")
        yield MethodList()
        with VerticalScroll(id="about", classes="panel", can_focus=False):
            yield Static()

    def on_mount(self) -> None:
        self._list.show_methods(str(find_draft_value(self._draft, "method.kind")))
        self.set_focus(self._list)
        # The first row needs the model's shapes, maybe from a hub: seconds that count up show that it is
        # alive.
        self.set_interval(1.0, self._show_progress)
        self._show_progress()
        self._compare_methods()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_heads)

    @work(thread=True, group="methods", exclusive=True)
    def _compare_methods(self) -> None:
        worker = get_current_worker()

        def post_row(row: MethodRow, counted: RowCount) -> None:
            self.post_message(MethodCompared(row, counted))

        try:
            planlook.compare_draft(
                self._draft, self._card, post_row, lambda: worker.is_cancelled, self.tuner_app.store.root
            )
        except (TunerError, OSError) as problem:
            if not worker.is_cancelled:
                self.post_message(ComparisonFailed(format_error_words(problem)))

    def work_failed(self, group: str, words: str) -> None:
        self._show_failure(words)

    @on(ComparisonFailed)
    def _take_failure(self, message: ComparisonFailed) -> None:
        self._show_failure(message.words)

    def _show_failure(self, words: str) -> None:
        self._failed = True
        self._list.waits = False
        self._list.refresh()
        self._show_progress()
        self._write_about(_("No figures"), Content.assemble(("✗ ", "$error"), make_safe_block(words)))

    @on(MethodCompared)
    def _take_row(self, message: MethodCompared) -> None:
        self._counted = message.counted
        self._list.add_row(message.row)
        self._show_progress()
        if message.row.kind.name == self._list.marked_name:
            self._describe_marked()

    # Drawing

    def _show_progress(self) -> None:
        """Show in the top line how far it is; afterwards the card and the order."""
        done, bar = self._list.filled_rows, self.query_one(TopBar)
        if self._failed or done >= len(METHODS):
            card = make_safe_line(self._card or _("this machine"), 30).plain
            bar.set_right_words(Content(f"{card}  ·  {_(ORDERS[self._list.order])}"))
        elif done:
            bar.set_right_words(Content(_("{done} of {total} methods", done=done, total=len(METHODS))))
        else:
            seconds = int(time.monotonic() - self._began)
            bar.set_right_words(Content(_("reading the model and the rows: {seconds} s", seconds=seconds)))

    def _draw_heads(self) -> None:
        width = self._list.scrollable_content_region.width
        self.query_one("#heads", Static).update(self._list.draw_head(width))

    def _describe_marked(self) -> None:
        name = self._list.marked_name
        if name and not self._failed:
            words = describe_method(name, self._list.marked_row, self._counted)
            self._write_about(_(METHODS[name].label), words)

    def _write_about(self, title: str, words: Content) -> None:
        panel = self.query_one("#about", VerticalScroll)
        panel.border_title = Content(title)
        panel.query_one(Static).update(words)

    @on(LongList.Highlighted)
    def _follow_cursor(self) -> None:
        self.query_one("#about", VerticalScroll).scroll_home(animate=False)
        self._describe_marked()

    # Keys

    def action_sort(self) -> None:
        """Sort by the next order."""
        self._list.sort_next()
        self._draw_heads()
        self._show_progress()

    def action_read_on(self) -> None:
        """Scroll the text below the table; from its end back to its beginning."""
        panel = self.query_one("#about", VerticalScroll)
        if panel.scroll_y >= panel.max_scroll_y:
            panel.scroll_home(animate=False)
        else:
            panel.scroll_relative(y=max(1, panel.content_size.height - 1), animate=False)

    @on(LongList.Selected)
    def _take_marked(self) -> None:
        row = self._list.marked_row
        if row is None:
            self.tuner_app.show_notice(_("Wait for the figures of this method."), timeout=4)
        elif not row.can_be_taken:
            self.tuner_app.show_notice(format_error_words(row.refusal or TunerError("")), "warning", 8)
        else:
            self.dismiss(row.values)

    def action_back(self) -> None:
        self.dismiss(None)
