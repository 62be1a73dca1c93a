"""The tokens of a row, or the lengths of rows, worked out in threads while the screen goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from textual import work
from textual.content import Content
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import one_line
from tui_tuner.ui import datalook
from tui_tuner.ui.form import at
from tui_tuner.ui.guard.sturdy import Works
from tui_tuner.ui.widgets.data.mask_view import MaskView
from tui_tuner.ui.words import block

if TYPE_CHECKING:
    from tui_tuner.ui.widgets.data.row_list import RowList

_DELAY = 0.15  # seconds the cursor must rest on a row before its tokens are worked out
_TICK = 0.5  # seconds between two looks at how long something has taken
_SILENT = 0.4  # seconds that something may take before it is said


class TokenPane(MaskView, Works):
    """What `look_at` asks for, as soon as it is known; what was asked before is passed over."""

    class _Found(Message):
        def __init__(self, turn: int, found: Any, error: str) -> None:
            super().__init__()
            self.turn, self.found, self.error = turn, found, error

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._turn = 0
        self._asked: tuple[dict[str, Any], datalook.DataPath, int, RowList] | None = None
        self._since: float | None = None  # when work on it began

    def on_mount(self) -> None:
        self.set_interval(_TICK, self._say_wait)

    def forget(self) -> None:
        """Show nothing, until another row is asked for."""
        self._turn += 1
        self._asked = self._since = None
        self.say(Content(""))

    def look_at(self, draft: dict[str, Any], path: datalook.DataPath, row: int, rows: RowList) -> None:
        """Show a row (from 0), once the cursor rests on it."""
        self._turn += 1
        self._asked = (draft, path, row, rows)
        turn = self._turn
        self.set_timer(_DELAY, lambda: self._begin(turn))

    def again(self, draft: dict[str, Any]) -> None:
        """The same row, by another model."""
        if self._asked is not None:
            self.say(Content(""))
            self._asked = (draft, *self._asked[1:])
            self._turn += 1
            self._begin(self._turn)

    def _begin(self, turn: int) -> None:
        if turn != self._turn or self._asked is None:
            return
        draft, path, row, rows = self._asked
        self._since = time.monotonic()
        if self.lengths:
            self._around(turn, draft, path, row, rows)
        else:
            self._mask(turn, draft, path, row, rows)

    def _say_wait(self) -> None:
        """How long it takes, once it takes long; what is shown of another row stays meanwhile."""
        if self._since is None or self._asked is None or (self.mask is not None and not self.lengths):
            return
        seconds = time.monotonic() - self._since
        if seconds < _SILENT or not self.screen.is_active:
            return
        draft = self._asked[0]
        model = one_line(at(draft, "model.name"), 30)
        if datalook.tokenizer_here(draft):
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
        self.say(Content(words).stylize("$dim"))

    @work(thread=True, group="mask", exclusive=True)
    def _mask(
        self, turn: int, draft: dict[str, Any], path: datalook.DataPath, row: int, rows: RowList
    ) -> None:
        found, error = None, ""
        try:
            found = datalook.mask(draft, path, row, rows.kept(row))
        except (TunerError, OSError, ImportError) as problem:
            error = words_of(problem)
        if not get_current_worker().is_cancelled:
            self.post_message(TokenPane._Found(turn, found, error))

    @work(thread=True, group="around", exclusive=True)
    def _around(
        self, turn: int, draft: dict[str, Any], path: datalook.DataPath, row: int, rows: RowList
    ) -> None:
        found, error = None, ""
        try:
            found = datalook.around(draft, path, row, rows.spool)
        except (TunerError, OSError, ImportError) as problem:
            error = words_of(problem)
        if not get_current_worker().is_cancelled:
            self.post_message(TokenPane._Found(turn, found, error))

    def on_token_pane__found(self, message: _Found) -> None:
        if message.turn != self._turn or self._asked is None:
            return
        self._since = None
        row = self._asked[2]
        if message.found is None:
            self.say(Content.assemble(("✗ ", "$error"), block(message.error)))
        elif isinstance(message.found, datalook.Mask):
            self.show(message.found, row)
        else:
            around, laid = message.found
            self.show_around(around, laid, row)

    def toggle_lengths(self) -> None:
        """Lengths of the rows and the row among its neighbours, or the tokens of the row again."""
        self.lengths = not self.lengths
        if self._asked is not None:
            self.say(Content(""))
            self._turn += 1
            self._begin(self._turn)

    def toggle_borders(self) -> None:
        """Show or hide the borders between tokens."""
        self.borders = not self.borders
        if self.mask is not None and self._asked is not None:
            self.show(self.mask, self._asked[2])

    def work_failed(self, group: str, words: str) -> None:
        self._since = None
        self.say(Content.assemble(("✗ ", "$error"), words))
