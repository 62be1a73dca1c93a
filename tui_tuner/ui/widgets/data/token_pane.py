"""The tokens of a row, or the lengths of rows, computed in threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from textual import work
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import datalook
from tui_tuner.ui.form_values import find_draft_value
from tui_tuner.ui.guard.sturdy import WorkerOwner
from tui_tuner.ui.screen_words import make_safe_block
from tui_tuner.ui.widgets.data.mask_view import MaskView

if TYPE_CHECKING:
    from tui_tuner.ui.widgets.data.row_list import RowList

_DELAY = 0.15  # seconds the cursor must rest on a row before its tokens are computed
_TICK = 0.5  # seconds between two updates of the waiting time
_SILENT = 0.4  # seconds of waiting before it is shown


class TokenPane(MaskView, WorkerOwner):
    """Shows what `look_at` requested last, as soon as it is computed."""

    class _Found(Message):
        def __init__(self, turn: int, found: Any, error: str) -> None:
            super().__init__()
            self.turn, self.found, self.error = turn, found, error

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._turn = 0
        self._asked: tuple[dict[str, Any], datalook.DataPath, int, RowList] | None = None
        self._since: float | None = None  # when the work started

    def on_mount(self) -> None:
        self.set_interval(_TICK, self._say_wait)

    def clear_tokens(self) -> None:
        """Clear the pane until another row is requested."""
        self._turn += 1
        self._asked = self._since = None
        self.show_words(Content(""))

    def look_at(self, draft: dict[str, Any], path: datalook.DataPath, row: int, rows: RowList) -> None:
        """Show a row (from 0) when the cursor rests on it."""
        self._turn += 1
        self._asked = (draft, path, row, rows)
        turn = self._turn
        # Holding a cursor key passes many rows, and tokenising each of them would lag behind.
        self.set_timer(_DELAY, lambda: self._begin_work(turn))

    def show_again(self, draft: dict[str, Any]) -> None:
        """Show the same row with another model."""
        if self._asked is not None:
            self.show_words(Content(""))
            self._asked = (draft, *self._asked[1:])
            self._turn += 1
            self._begin_work(self._turn)

    def _begin_work(self, turn: int) -> None:
        # The cursor has moved on while the timer ran.
        if turn != self._turn or self._asked is None:
            return
        draft, path, row, rows = self._asked
        self._since = time.monotonic()
        if self.lengths:
            self._find_around(turn, draft, path, row, rows)
        else:
            self._find_mask(turn, draft, path, row, rows)

    def _say_wait(self) -> None:
        """Show the waiting time if it is long; the tokens of another row stay visible meanwhile."""
        if self._since is None or self._asked is None or (self.mask is not None and not self.lengths):
            return
        seconds = time.monotonic() - self._since
        if seconds < _SILENT or not self.screen.is_active:
            return
        draft = self._asked[0]
        model = one_line(find_draft_value(draft, "model.name"), 30)
        # The first load of a tokenizer takes seconds, which should not look like the work on the row.
        if datalook.is_tokenizer_loaded(draft):
            words = _("Tokenising rows… {n:.0f} s", n=seconds)
        elif self.lengths:
            words = _(
                "Loading the tokenizer of {model}, for the lengths of rows… {n:.0f} s", model=model, n=seconds
            )
        elif self.borders:
            words = _(
                "Loading the tokenizer of {model}, for tokens with borders… {n:.0f} s", model=model, n=seconds
            )
        else:
            words = _("Loading the tokenizer of {model}… {n:.0f} s", model=model, n=seconds)
        self.show_words(Content(words).stylize("$dim"))

    @work(thread=True, group="mask", exclusive=True)
    def _find_mask(
        self, turn: int, draft: dict[str, Any], path: datalook.DataPath, row: int, rows: RowList
    ) -> None:
        found, error = None, ""
        try:
            found = datalook.read_row_mask(draft, path, row, rows.find_kept(row))
        except (TunerError, OSError, ImportError) as problem:
            error = format_error_words(problem)
        if not get_current_worker().is_cancelled:
            self.post_message(TokenPane._Found(turn, found, error))

    @work(thread=True, group="around", exclusive=True)
    def _find_around(
        self, turn: int, draft: dict[str, Any], path: datalook.DataPath, row: int, rows: RowList
    ) -> None:
        found, error = None, ""
        try:
            found = datalook.read_rows_around(draft, path, row, rows.spool)
        except (TunerError, OSError, ImportError) as problem:
            error = format_error_words(problem)
        if not get_current_worker().is_cancelled:
            self.post_message(TokenPane._Found(turn, found, error))

    def on_token_pane__found(self, message: _Found) -> None:
        if message.turn != self._turn or self._asked is None:
            return
        self._since = None
        row = self._asked[2]
        if message.found is None:
            self.show_words(Content.assemble(("✗ ", "$error"), make_safe_block(message.error)))
        elif isinstance(message.found, datalook.RowMask):
            self.show_mask(message.found, row)
        else:
            around, laid = message.found
            self.show_around(around, laid, row)

    def toggle_lengths(self) -> None:
        """Switch between the tokens of the row and the lengths of the rows around it."""
        self.lengths = not self.lengths
        if self._asked is not None:
            self.show_words(Content(""))
            self._turn += 1
            self._begin_work(self._turn)

    def toggle_borders(self) -> None:
        """Show or hide the borders between tokens."""
        self.borders = not self.borders
        if self.mask is not None and self._asked is not None:
            self.show_mask(self.mask, self._asked[2])

    def work_failed(self, group: str, words: str) -> None:
        self._since = None
        self.show_words(Content.assemble(("✗ ", "$error"), words))
