"""The check that is made before a run is started, while one types and before the start itself."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import get_current_worker

from tui_tuner.ui.guard.sturdy import Works
from tui_tuner.ui.hosting import tuner_of

if TYPE_CHECKING:
    from tui_tuner.ui.checking import Refusal

_GROUP = "start-check"
REST = 0.35  # seconds without a change before files are looked at


class Checked(Message):
    """Whether a run can be started with these values; with `start`, that was asked for."""

    def __init__(
        self,
        turn: int,
        values: dict[str, Any],
        refusal: Refusal | None,
        start: bool,
        better: Refusal | None = None,
        fetches: bool = False,
    ) -> None:
        super().__init__()
        self.turn, self.values, self.refusal, self.start = turn, values, refusal, start
        self.better = better  # that another task fits the data better
        self.fetches = fetches  # the model first, and nobody knows yet whether there is one


class StartCheck(Widget, Works):
    """`ask` it after each change; it answers with `Checked`, and only for the values that were asked last."""

    DEFAULT_CSS = "StartCheck { display: none; }"

    def __init__(self) -> None:
        super().__init__()
        self.starting = False  # the check that is on was asked for by a start
        self._turn = 0
        self._asked: dict[str, Any] = {}
        self._timer: Timer | None = None

    def ask(self, values: dict[str, Any], start: bool = False, *, at_once: bool = False) -> None:
        """Look at what these values speak of: for a start or `at_once` now, else when no change follows."""
        self.clear()
        self.starting = start
        turn, kept = self._turn, copy.deepcopy(values)
        self._asked = kept
        if start or at_once:
            self._look(turn, kept, start)
        else:
            self._timer = self.set_timer(REST, lambda: self._look(turn, kept, start))

    def clear(self) -> None:
        """There is nothing to look at: what was asked before is not answered."""
        self._turn += 1
        self.starting = False
        if self._timer is not None:
            self._timer.stop()

    @work(thread=True, group=_GROUP, exclusive=True)
    def _look(self, turn: int, values: dict[str, Any], start: bool) -> None:
        from tui_tuner.ui.checking import better_start, check_place, check_start, is_fetched, try_rows

        tuner = tuner_of(self.app)
        refusal = check_start(values) if turn == self._turn else None
        if refusal is None and turn == self._turn:
            refusal = check_place(values, tuner.store)
        if refusal is None and turn == self._turn:
            refusal = try_rows(values, tuner.helper)
        better = better_start(values) if refusal is None and not start and turn == self._turn else None
        if not get_current_worker().is_cancelled:
            fetches = refusal is None and turn == self._turn and is_fetched(values)
            self.post_message(Checked(turn, values, refusal, start, better, fetches))

    def work_failed(self, group: str, words: str) -> None:
        from tui_tuner.ui.checking import Refusal

        if group == _GROUP:  # nobody knows whether it can be started: that is not "ready"
            self.post_message(Checked(self._turn, self._asked, Refusal("", words), self.starting))

    @on(Checked)
    def _checked(self, message: Checked) -> None:
        if message.turn != self._turn:
            message.stop()
            return
        self.starting = False
