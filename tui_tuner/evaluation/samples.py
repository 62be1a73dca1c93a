"""How a task shows itself: what a person reads before, during and after training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Stage = Literal["before", "during", "after"]


class Progress(Protocol):
    """Told how many prompts are answered, of how many, and what moves until the next one is; may raise."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


DURING = 2  # of what is shown before and after training, so much is at an evaluation


@dataclass(frozen=True)
class Span:
    """A part of a passage, such as an entity or an answer.

    Args:
        start, end: In characters of the passage.
        label: Its class; empty where there is but one kind.
        score: Probability, 0 to 1; None where none was computed.
    """

    start: int
    end: int
    label: str = ""
    score: float | None = None


@dataclass(frozen=True)
class Shown:
    """One held-out row (or a prompt of the user's) with what the model makes of it.

    Args:
        prompt: What was asked, as text.
        text: What the model said: an answer, or its prediction in words.
        reference: What the data set says; empty where it says nothing.
        stopped: Whether the model ended by itself.
        passage: The text in which spans lie; empty where it is the prompt.
        found, wanted: Spans that the model found, and those of the data set.
        scores: Choices with their probabilities, the best first: classes, or answers (an empty text is
            no answer).
    """

    prompt: str
    text: str
    reference: str = ""
    stopped: bool = True
    passage: str = ""
    found: Sequence[Span] = ()
    wanted: Sequence[Span] = ()
    scores: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class SampleReport:
    """What is shown, and metrics of `rows` held-out rows that were measured on the way.

    Args:
        notes: What was left out, and why, for the journal.
    """

    shown: list[Shown] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)
    rows: int = 0
    notes: Sequence[str] = ()


class Samples(ABC):
    """Implement this for a task that has something to show. One instance serves one run."""

    @abstractmethod
    def collect(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
        """Let the model answer; None where there is nothing to ask it.

        Args:
            model: In evaluation mode or not; it is left as it was.
            stage: During training, a few rows are enough.
            progress: Told (done, total); it may raise to interrupt.
        """
