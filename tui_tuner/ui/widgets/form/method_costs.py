"""The cost of each method with the current draft: memory, and the share of weights trained."""

from __future__ import annotations

import copy
from typing import Any

from textual import on, work
from textual.message import Message
from textual.widget import Widget
from textual.worker import get_current_worker

from tui_tuner.ui.guard.sturdy import WorkerOwner
from tui_tuner.ui.hosting import get_tuner_app


class MethodsCosted(Message):
    """The cost of each method in a few words, by name."""

    def __init__(self, turn: int, costs: dict[str, str]) -> None:
        super().__init__()
        self.turn, self.costs = turn, costs


class MethodCosts(Widget, WorkerOwner):
    """Answers `ask_costs` with `MethodsCosted`, but only for the last draft."""

    DEFAULT_CSS = "MethodCosts { display: none; }"

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0
        self._asked: dict[str, Any] | None = None

    def ask_costs(self, values: dict[str, Any]) -> None:
        """Compute the costs, unless that was done for these values."""
        if values == self._asked:
            return
        # A copy, since the form changes the draft in place while the worker plans.
        self._asked = copy.deepcopy(values)
        self._turn += 1
        self._find_costs(self._turn, self._asked, get_tuner_app(self.app).card)

    @work(thread=True, group="method-costs", exclusive=True)
    def _find_costs(self, turn: int, values: dict[str, Any], card: str) -> None:
        from tui_tuner.ui import planlook

        worker = get_current_worker()
        costs = planlook.list_method_costs(values, card, lambda: worker.is_cancelled or turn != self._turn)
        if not worker.is_cancelled:
            self.post_message(MethodsCosted(turn, costs))

    def work_failed(self, group: str, words: str) -> None:
        self._asked = None  # ask again next time; the list shows no numbers until then

    @on(MethodsCosted)
    def _drop_outdated(self, message: MethodsCosted) -> None:
        # Stopped here, so that the form never sees the answer for an older draft.
        if message.turn != self._turn:
            message.stop()
