"""How many weights the draft's method trains in its model, and what is saved: counted at every change."""

from __future__ import annotations

import copy
from typing import Any

from textual import on, work
from textual.message import Message
from textual.widget import Widget
from textual.worker import get_current_worker

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.text import format_bytes, format_share_percentage, one_line
from tui_tuner.ui.guard.sturdy import WorkerOwner
from tui_tuner.ui.hosting import get_tuner_app


class MethodMeasured(Message):
    """The counts in a few words, or why there are none."""

    def __init__(self, turn: int, words: str) -> None:
        super().__init__()
        self.turn, self.words = turn, words


class MethodSize(Widget, WorkerOwner):
    """Answers `ask_size` with `MethodMeasured`, but only for the last draft."""

    DEFAULT_CSS = "MethodSize { display: none; }"

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    def ask_size(self, values: dict[str, Any]) -> None:
        """Count for these values."""
        self._turn += 1
        # A copy, since the form changes the draft in place while the worker reads it.
        self._measure_method(self._turn, copy.deepcopy(values), get_tuner_app(self.app).card)

    def forget_size(self) -> None:
        """Let no answer come any more, because the draft is invalid."""
        self._turn += 1

    @work(thread=True, group="method-size", exclusive=True)
    def _measure_method(self, turn: int, values: dict[str, Any], card: str) -> None:
        from tui_tuner.ui import planlook

        try:
            found, size = planlook.measure_method(values, card)
        except (TunerError, OSError) as problem:
            words = _("not counted: {why}", why=one_line(format_error_words(problem), 200))
        else:
            told = {
                "count": found.trained,
                "share": format_share_percentage(found.trained_share),
                "size": format_bytes(size),
            }
            if found.doubt:
                words = _("trains about {count:,} weights ({share}), saves about {size}", **told)
            else:
                words = _("trains {count:,} weights ({share}), saves {size}", **told)
        if not get_current_worker().is_cancelled:
            self.post_message(MethodMeasured(turn, words))

    def work_failed(self, group: str, words: str) -> None:
        self.post_message(MethodMeasured(self._turn, words))

    @on(MethodMeasured)
    def _drop_outdated(self, message: MethodMeasured) -> None:
        # Stopped here, so that the form never sees the answer for an older draft.
        if message.turn != self._turn:
            message.stop()
