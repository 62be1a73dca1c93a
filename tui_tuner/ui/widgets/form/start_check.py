"""The check before a run is started, done while the user types and before the start itself."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import get_current_worker

from tui_tuner.ui.guard.sturdy import WorkerOwner
from tui_tuner.ui.hosting import get_tuner_app

if TYPE_CHECKING:
    from tui_tuner.ui.start_checking import Refusal

_GROUP = "start-check"
REST = 0.35  # seconds without a change before files are read


class StartChecked(Message):
    """The result of a check; `start`: a start is waiting for it."""

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
        self.better = better  # set if another task fits the data better
        self.fetches = fetches  # a start downloads the model first, which may not exist


class StartCheck(Widget, WorkerOwner):
    """Answers `ask_check` with `StartChecked`, but only for the last values."""

    DEFAULT_CSS = "StartCheck { display: none; }"

    def __init__(self) -> None:
        super().__init__()
        self.starting = False  # a start waits for the running check
        self._turn = 0
        self._asked: dict[str, Any] = {}
        self._timer: Timer | None = None

    def ask_check(self, values: dict[str, Any], start: bool = False, *, at_once: bool = False) -> None:
        """Check these values: now for a start or `at_once`, otherwise when no change follows."""
        self.cancel_check()
        self.starting = start
        turn, kept = self._turn, copy.deepcopy(values)
        self._asked = kept
        if start or at_once:
            self._run_checks(turn, kept, start)
        else:
            self._timer = self.set_timer(REST, lambda: self._run_checks(turn, kept, start))

    def cancel_check(self) -> None:
        """Drop the check: earlier requests get no answer."""
        self._turn += 1
        self.starting = False
        if self._timer is not None:
            self._timer.stop()

    @work(thread=True, group=_GROUP, exclusive=True)
    def _run_checks(self, turn: int, values: dict[str, Any], start: bool) -> None:
        from tui_tuner.ui.start_checking import (
            check_run_place,
            check_start,
            needs_model_download,
            suggest_better_start,
            try_draft_rows,
        )

        tuner = get_tuner_app(self.app)
        # Each step is slower than the one before; an outdated check stops between two of them.
        refusal = check_start(values) if turn == self._turn else None
        if refusal is None and turn == self._turn:
            refusal = check_run_place(values, tuner.store)
        if refusal is None and turn == self._turn:
            refusal = try_draft_rows(values, tuner.helper)
        better = (
            suggest_better_start(values) if refusal is None and not start and turn == self._turn else None
        )
        if not get_current_worker().is_cancelled:
            fetches = refusal is None and turn == self._turn and needs_model_download(values)
            self.post_message(StartChecked(turn, values, refusal, start, better, fetches))

    def work_failed(self, group: str, words: str) -> None:
        from tui_tuner.ui.start_checking import Refusal

        if group == _GROUP:  # a check that failed must not count as passed
            self.post_message(StartChecked(self._turn, self._asked, Refusal("", words), self.starting))

    @on(StartChecked)
    def _drop_outdated(self, message: StartChecked) -> None:
        if message.turn != self._turn:
            message.stop()
            return
        self.starting = False
