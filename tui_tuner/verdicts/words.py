"""The words a verdict may be, what each means, and whether it is worth anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.locales import N_


@dataclass(frozen=True)
class Word:
    """A verdict: its name for scripts, its label, and what it means.

    Args:
        worth: 1 where the model is better than before and ready, 0 where there is more to be had or nothing
            can be told, -1 where the result is of no use.
    """

    name: str
    label: str
    means: str
    worth: int


VERDICTS: dict[str, Word] = {
    word.name: word
    for word in (
        Word(
            "good",
            N_("Good fit"),
            N_("Better on held-out rows than before, near its best at the end, and more steps bring little."),
            1,
        ),
        Word(
            "not_converged",
            N_("Not converged"),
            N_("Better than before, and still getting better when it ended: more steps would help."),
            0,
        ),
        Word(
            "underfit",
            N_("Underfitting"),
            N_("It learns, but so little for its steps that even the loss in training stays high."),
            0,
        ),
        Word(
            "plateau",
            N_("Plateau"),
            N_("It learnt, and then stood still for most of its steps, which brought nothing more."),
            0,
        ),
        Word(
            "overfit",
            N_("Overfitting"),
            N_("Held-out rows became worse again after a best step, while the loss in training still fell."),
            0,
        ),
        Word(
            "memorised",
            N_("Memorised"),
            N_("Training rows are known by heart, and held-out rows got little or nothing from it."),
            -1,
        ),
        Word(
            "unstable",
            N_("Unstable"),
            N_("The loss rose, jumped or was no number: the learning rate is too high, or rows are broken."),
            -1,
        ),
        Word(
            "nothing_learnt",
            N_("Nothing learnt"),
            N_("No better than before, or than guessing, by more than chance."),
            -1,
        ),
        Word(
            "unclear",
            N_("Unclear"),
            N_("Too few rows or measurements to tell, or held-out rows that say nothing."),
            0,
        ),
    )
}


@dataclass(frozen=True)
class Advice:
    """What to change: a sentence, and the fields of a new config that do it (empty where none do)."""

    words: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """A verdict on a run.

    Args:
        verdict: One of `VERDICTS`.
        step: The last one that it rests on.
        since_step: From where on it holds: the best step of what overfits, the step of a divergence.
        confidence: Share of the draws of held-out rows (with replacement) that give the same verdict.
        evidence: Sentences, each with the figures it rests on.
        advice: The likeliest first.
    """

    verdict: str
    step: int
    since_step: int | None = None
    confidence: float | None = None
    evidence: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()
