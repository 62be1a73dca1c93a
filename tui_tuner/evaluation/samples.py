"""The interface by which a task shows itself before, during and after training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Stage = Literal["before", "during", "after"]


class Progress(Protocol):
    """Called with the prompts answered so far, their total, and a note on the current one; may raise."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


DURING = 2  # samples shown at an evaluation during training, of those before and after it


@dataclass(frozen=True)
class Span:
    """A part of a passage, such as an entity or an answer.

    Args:
        start, end: In characters of the passage.
        label: Its class; empty if there is only one kind.
        score: Probability, 0 to 1; None if not computed.
    """

    start: int
    end: int
    label: str = ""
    score: float | None = None


@dataclass(frozen=True)
class ShownSample:
    """One held-out row (or a user's prompt) with the model's output.

    Args:
        prompt: The input as text.
        text: The output: an answer, or a prediction as text.
        reference: The correct output in the data set; empty if it has none.
        stopped: Whether the model ended by itself.
        passage: The text that spans refer to; empty if it is the prompt.
        found, wanted: Spans that the model found, and those of the data set.
        scores: Choices with their probabilities, best first: classes, answers (an empty text is no answer),
            or tokens at a mask.
        further: The choices at each further mask.
    """

    prompt: str
    text: str
    reference: str = ""
    stopped: bool = True
    passage: str = ""
    found: Sequence[Span] = ()
    wanted: Sequence[Span] = ()
    scores: Sequence[tuple[str, float]] = ()
    further: Sequence[Sequence[tuple[str, float]]] = ()


@dataclass(frozen=True)
class SampleReport:
    """Samples to show, and metrics measured on `rows` held-out rows.

    Args:
        notes: Messages for the journal about what was left out, and why.
        signatures: How metrics were computed whose values depend on it (`evaluation.metrics.sign_scores`).
    """

    shown: list[ShownSample] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)
    rows: int = 0
    notes: Sequence[str] = ()
    signatures: Mapping[str, str] = field(default_factory=dict)


class SampleSource(ABC):
    """Implement this for a task that can show samples. One instance serves one run."""

    @abstractmethod
    def collect_samples(self, model: Any, stage: Stage, progress: Progress) -> SampleReport | None:
        """Let the model answer; return None if there is nothing to ask.

        Args:
            model: In any mode, which must be restored.
            stage: During training, a few rows are enough.
            progress: Called with (done, total); it may raise to interrupt.
        """

    def score_answers(self, model: Any, progress: Progress) -> SampleReport | None:
        """Let the model answer held-out rows and score the answers; None if there is nothing to score.

        Args:
            model, progress: As for `collect_samples`.
        """
        return None
