"""Messages from the plan screen's workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from tui_tuner.planning.range_suggestion import RangeTest


class TraceDone(Message):
    """The result of the trace of the installed libraries."""

    def __init__(self, turn: int, sentence: str) -> None:
        super().__init__()
        self.turn, self.sentence = turn, sentence


class CountProgress(Message):
    """How many rows are tokenised so far."""

    def __init__(self, turn: int, done: int, total: int, unit: str) -> None:
        super().__init__()
        self.turn, self.done, self.total, self.unit = turn, done, total, unit


class RangeStep(Message):
    """The range test's progress and its curve so far, as (rate, loss)."""

    def __init__(self, doing: str, done: int, total: int, points: list[tuple[float, float]]) -> None:
        super().__init__()
        self.doing, self.done, self.total, self.points = doing, done, total, points


class RangeDone(Message):
    """The range test's curve, or why there is none."""

    def __init__(self, test: RangeTest | None, error: str) -> None:
        super().__init__()
        self.test, self.error = test, error
