"""Compute exact match and F1 of answers, as the scripts of SQuAD 1.1 and 2.0 do (1606.05250, 1806.03822).

Answers are compared without case, punctuation, articles and superfluous spaces; of several correct answers
the best match counts. For questions without an answer the correct answer is an empty text, and a threshold
on how much higher no answer scores decides when it is given. All values here are 0 to 1.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Largest difference of a score between two computations of the same model in float32
ROUNDING = 1e-3


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with the best answer that the model finds in the text.

    Args:
        answers: The correct ones, as texts; empty if the text does not answer the question.
        text: The model's best answer, whatever no answer scores.
        no_answer: How much higher no answer scores than this answer.
    """

    answers: Sequence[str]
    text: str
    no_answer: float = 0.0


@dataclass(frozen=True)
class Scores:
    """Exact match and F1 of each question, in their order."""

    exact: list[float]
    f1: list[float]


def normalise_squad_answer(text: str) -> str:
    """Normalise a text for comparison: lower case, no punctuation, no English articles, single spaces."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def score_squad_match(answer: str, found: str) -> float:
    """Return 1 if both texts are equal when normalised, else 0."""
    return float(normalise_squad_answer(answer) == normalise_squad_answer(found))


def score_squad_f1(answer: str, found: str, unanswered: bool) -> float:
    """Return the harmonic mean of the shares of words that both texts have in common.

    Args:
        unanswered: Count as version 2.0 does: two texts without a word are equal, while version 1.1 gives 0.
    """
    wanted, given = normalise_squad_answer(answer).split(), normalise_squad_answer(found).split()
    if unanswered and not (wanted and given):
        return float(wanted == given)
    common = sum((Counter(wanted) & Counter(given)).values())
    if not common:
        return 0.0
    precision, recall = 1.0 * common / len(given), 1.0 * common / len(wanted)
    return (2 * precision * recall) / (precision + recall)


def list_squad_answers(answers: Sequence[str], unanswered: bool) -> list[str]:
    """Return the answers to compare with: for version 2.0, an empty text if no word would be left."""
    if not unanswered:
        return list(answers)
    return [answer for answer in answers if normalise_squad_answer(answer)] or [""]


def score_squad_answers(questions: Sequence[AnsweredQuestion], unanswered: bool) -> Scores:
    """Score the model's best answers, before any threshold.

    Args:
        unanswered: Whether some of the questions have no answer: version 2.0, else 1.1.
    """
    found = Scores([], [])
    for one in questions:
        right = list_squad_answers(one.answers, unanswered)
        found.exact.append(max(score_squad_match(answer, one.text) for answer in right))
        found.f1.append(max(score_squad_f1(answer, one.text, unanswered) for answer in right))
    return found


def score_squad_threshold(questions: Sequence[AnsweredQuestion], scores: Scores, threshold: float) -> Scores:
    """Return the scores if questions with `no_answer` above the threshold get no answer."""

    def apply_threshold(values: Sequence[float]) -> list[float]:
        return [
            float(not one.answers) if one.no_answer > threshold else value
            for one, value in zip(questions, values, strict=True)
        ]

    return Scores(apply_threshold(scores.exact), apply_threshold(scores.f1))


def find_best_squad_threshold(questions: Sequence[AnsweredQuestion], values: Sequence[float]) -> float:
    """Return the threshold of `no_answer` with the best mean of these scores, as SQuAD 2.0's script finds
    it.

    The search starts with no answer for all questions, and adds answers in the order of their `no_answer`. Of
    several thresholds with the same score, the first counts. If none is better than no answer for all, the
    script returns 0, which is below all of its probabilities; for differences of scores it must be lower.
    """
    current: float = sum(not one.answers for one in questions)
    best = current
    threshold = min(0.0, min((one.no_answer for one in questions), default=0.0) - ROUNDING)
    order = sorted(range(len(questions)), key=lambda place: questions[place].no_answer)
    for place in order:
        one = questions[place]
        # Answering a question without an answer loses the point that "no answer" had.
        current += values[place] if one.answers else -1 if one.text else 0
        if current > best:
            best, threshold = current, one.no_answer
    return threshold


def raise_squad_threshold(questions: Sequence[AnsweredQuestion], threshold: float) -> float:
    """Return a threshold moved slightly above the `no_answer` of a question, which keeps its answer.

    Computed again, in other batches or on another machine, that score has other last digits, and the question
    would lose its answer about every other time. Decisions about these questions do not change.
    """
    scores = {one.no_answer for one in questions}
    if threshold not in scores:
        return threshold
    gap = min((score - threshold for score in scores if score > threshold), default=math.inf)
    return threshold + min(gap / 2, ROUNDING)


def compute_mean_score(values: Sequence[float]) -> float | None:
    """Return the mean, or None without values."""
    return sum(values) / len(values) if values else None
