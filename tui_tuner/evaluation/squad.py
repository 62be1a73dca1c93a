"""Exact match and F1 of answers, as the scripts of SQuAD 1.1 and 2.0 count them (1606.05250, 1806.03822).

Answers are compared without case, punctuation, articles and superfluous spaces; of several right answers the
one that fits best counts. Where a data set has questions without an answer, the right answer to those is an
empty text, and a threshold on "by how much no answer scores higher" decides when it is given. All values here
are 0 to 1.
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
ROUNDING = (
    1e-3  # by how much scores of the same model differ at most, from one computation in float32 to another
)


@dataclass(frozen=True)
class Answered:
    """A question with the best answer that the model finds in the text.

    Args:
        answers: The right ones, as texts; empty where the text does not answer the question.
        text: The model's best answer, whatever it makes of no answer.
        no_answer: By how much no answer scores higher than this one.
    """

    answers: Sequence[str]
    text: str
    no_answer: float = 0.0


@dataclass(frozen=True)
class Scores:
    """Exact match and F1 of each question, in their order."""

    exact: list[float]
    f1: list[float]


def normalise(text: str) -> str:
    """The text as it is compared: lower case, no punctuation, no English articles, single spaces."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact(answer: str, found: str) -> float:
    """1 where both are the same text when normalised."""
    return float(normalise(answer) == normalise(found))


def f1(answer: str, found: str, unanswered: bool) -> float:
    """Harmonic mean of the shares of words that both have in common.

    Args:
        unanswered: As version 2 counts: two texts without a word are the same, where version 1.1 gives 0.
    """
    wanted, given = normalise(answer).split(), normalise(found).split()
    if unanswered and not (wanted and given):
        return float(wanted == given)
    common = sum((Counter(wanted) & Counter(given)).values())
    if not common:
        return 0.0
    precision, recall = 1.0 * common / len(given), 1.0 * common / len(wanted)
    return (2 * precision * recall) / (precision + recall)


def right_answers(answers: Sequence[str], unanswered: bool) -> list[str]:
    """What a prediction is held against: for version 2, an empty text where no word would be left."""
    if not unanswered:
        return list(answers)
    return [answer for answer in answers if normalise(answer)] or [""]


def score_each(questions: Sequence[Answered], unanswered: bool) -> Scores:
    """Scores of the model's best answers, before any threshold.

    Args:
        unanswered: Whether some of the questions have no answer: version 2.0, else 1.1.
    """
    found = Scores([], [])
    for one in questions:
        right = right_answers(one.answers, unanswered)
        found.exact.append(max(exact(answer, one.text) for answer in right))
        found.f1.append(max(f1(answer, one.text, unanswered) for answer in right))
    return found


def with_threshold(questions: Sequence[Answered], scores: Scores, threshold: float) -> Scores:
    """The scores where no answer is given to questions whose `no_answer` is above the threshold."""

    def decided(values: Sequence[float]) -> list[float]:
        return [
            float(not one.answers) if one.no_answer > threshold else value
            for one, value in zip(questions, values, strict=True)
        ]

    return Scores(decided(scores.exact), decided(scores.f1))


def best_threshold(questions: Sequence[Answered], values: Sequence[float]) -> float:
    """The threshold of `no_answer` with the best mean of these scores, as SQuAD 2.0's script looks for it.

    It begins with no answer for all, and gives answers one after the other, by their `no_answer`. Of several
    with the same score, the first that reached it is taken. Where none is better than no answer for all, the
    script says 0, which is below all of its probabilities; among differences of scores it is lower.
    """
    current: float = sum(not one.answers for one in questions)
    best = current
    threshold = min(0.0, min((one.no_answer for one in questions), default=0.0) - ROUNDING)
    order = sorted(range(len(questions)), key=lambda place: questions[place].no_answer)
    for place in order:
        one = questions[place]
        current += values[place] if one.answers else -1 if one.text else 0
        if current > best:
            best, threshold = current, one.no_answer
    return threshold


def clear_of(questions: Sequence[Answered], threshold: float) -> float:
    """The threshold a little higher, where it is the `no_answer` of a question, which keeps its answer.

    Whoever computes that score again, in other batches or on another machine, gets other last digits, and
    would give that question no answer about every other time. Decisions about the questions stay as they are.
    """
    scores = {one.no_answer for one in questions}
    if threshold not in scores:
        return threshold
    gap = min((score - threshold for score in scores if score > threshold), default=math.inf)
    return threshold + min(gap / 2, ROUNDING)


def mean(values: Sequence[float]) -> float | None:
    """Their mean; None of nothing."""
    return sum(values) / len(values) if values else None
