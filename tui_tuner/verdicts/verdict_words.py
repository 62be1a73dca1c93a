"""The nine verdicts: their names, labels, meanings and worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.locales import N_


@dataclass(frozen=True)
class Word:
    """A verdict: its name for scripts, its label, and what it means.

    Args:
        worth: 1 if the model is better than before and ready, 0 if it could be better or nothing is known,
            -1 if it is useless.
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
            N_("Better on held-out rows than before and near its best; more steps would add little."),
            1,
        ),
        Word(
            "not_converged",
            N_("Not converged"),
            N_("Better than before, and still improving when it ended: more steps would help."),
            0,
        ),
        Word(
            "underfit",
            N_("Underfitting"),
            N_("It learns, but so little for its steps that even the training loss stays high."),
            0,
        ),
        Word(
            "plateau",
            N_("Plateau"),
            N_("It learned at first, but most of its steps brought no further gain."),
            0,
        ),
        Word(
            "overfit",
            N_("Overfitting"),
            N_("The loss on held-out rows rose after its best step, while the training loss still fell."),
            0,
        ),
        Word(
            "memorised",
            N_("Memorised"),
            N_("Training rows are memorised, with little or no gain on held-out rows."),
            -1,
        ),
        Word(
            "unstable",
            N_("Unstable"),
            N_("The loss rose, jumped or was not finite: the learning rate is too high, or rows are broken."),
            -1,
        ),
        Word(
            "nothing_learnt",
            N_("Nothing learnt"),
            N_("Not better than before, or than guessing, by more than chance."),
            -1,
        ),
        Word(
            "unclear",
            N_("Unclear"),
            N_("Too few rows or evaluations for a verdict, or held-out rows that are not new ones."),
            0,
        ),
    )
}


@dataclass(frozen=True)
class Advice:
    """A suggested change: a sentence, and the fields of a new config that make it (empty if none do)."""

    words: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FoundVerdict:
    """A verdict on a run.

    Args:
        verdict: One of `VERDICTS`.
        step: The last step that was judged.
        since_step: The step since which it holds: the best one before overfitting, that of a divergence.
        confidence: Share of the draws of held-out rows (with replacement) that give the same verdict.
        evidence: Sentences with figures, the decisive one first.
        advice: The most likely remedy first.
    """

    verdict: str
    step: int
    since_step: int | None = None
    confidence: float | None = None
    evidence: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()
