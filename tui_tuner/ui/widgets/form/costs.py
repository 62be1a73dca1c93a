"""What each method would cost with the draft as it is: memory, and how much is trained."""

from __future__ import annotations

import copy
from typing import Any

from textual import on, work
from textual.message import Message
from textual.widget import Widget
from textual.worker import get_current_worker

from tui_tuner.ui.guard.sturdy import Works
from tui_tuner.ui.hosting import tuner_of


class Costed(Message):
    """What each method costs, in a few words, by its name."""

    def __init__(self, turn: int, costs: dict[str, str]) -> None:
        super().__init__()
        self.turn, self.costs = turn, costs


class MethodCosts(Widget, Works):
    """`ask` it for a draft; it answers with `Costed`, and only for the draft that was asked last."""

    DEFAULT_CSS = "MethodCosts { display: none; }"

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0
        self._asked: dict[str, Any] | None = None

    def ask(self, values: dict[str, Any]) -> None:
        """Work it out, unless that was done for these values."""
        if values == self._asked:
            return
        self._asked = copy.deepcopy(values)
        self._turn += 1
        self._work(self._turn, self._asked, tuner_of(self.app).card)

    @work(thread=True, group="method-costs", exclusive=True)
    def _work(self, turn: int, values: dict[str, Any], card: str) -> None:
        from tui_tuner.ui import planlook

        worker = get_current_worker()
        costs = planlook.method_costs(values, card, lambda: worker.is_cancelled or turn != self._turn)
        if not worker.is_cancelled:
            self.post_message(Costed(turn, costs))

    def work_failed(self, group: str, words: str) -> None:
        self._asked = None  # the choice goes without numbers

    @on(Costed)
    def _costed(self, message: Costed) -> None:
        if message.turn != self._turn:
            message.stop()
