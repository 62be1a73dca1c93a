"""Held-out questions judged: exact match, F1, the threshold, and how each kind of question does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tui_tuner.evaluation.squad import (
    Answered,
    Scores,
    best_threshold,
    clear_of,
    mean,
    score_each,
    with_threshold,
)
from tui_tuner.objectives.base import Judged, Table
from tui_tuner.tasks.answering.threshold import NAME

FIGURES = ("exact_match", "f1")


def judge_answers(questions: Sequence[Answered], told: float | str) -> tuple[Judged, float | None]:
    """Metrics and tables, and the threshold that was used; None where each question has an answer.

    Args:
        told: `evaluation.null_threshold`.
    """
    unanswered = any(not one.answers for one in questions)
    raw = score_each(questions, unanswered)
    if not unanswered and isinstance(told, str):
        return Judged(_means(raw)), None
    if not unanswered:
        return Judged(_means(with_threshold(questions, raw, float(told)))), float(told)
    best = {
        "exact_match": best_threshold(questions, raw.exact),
        "f1": best_threshold(questions, raw.f1),
    }
    threshold = clear_of(questions, best["f1"]) if isinstance(told, str) else float(told)
    scores = with_threshold(questions, raw, threshold)
    tables = [_by_kind(questions, scores), _thresholds(questions, raw, threshold, best)]
    return Judged({**_means(scores), NAME: threshold}, tables), threshold


def _means(scores: Scores) -> dict[str, float]:
    return {"exact_match": mean(scores.exact) or 0.0, "f1": mean(scores.f1) or 0.0}


def _by_kind(questions: Sequence[Answered], scores: Scores) -> Table:
    """Questions with and without an answer, as SQuAD 2.0 names them."""
    values = []
    for wanted in (True, False):
        own = [place for place, one in enumerate(questions) if bool(one.answers) == wanted]
        exact, f1 = ([one[place] for place in own] for one in (scores.exact, scores.f1))
        values.append([mean(exact), mean(f1), float(len(own))])
    return Table("classes", ["HasAns", "NoAns"], [*FIGURES, "questions"], values)


def _thresholds(questions: Sequence[Answered], raw: Scores, used: float, best: Mapping[str, float]) -> Table:
    """What the threshold in use gives, and those with the best scores."""
    rows = {"used": used, **{f"best_{name}": value for name, value in best.items()}}
    values = []
    for value in rows.values():
        scores = with_threshold(questions, raw, value)
        values.append([value, mean(scores.exact), mean(scores.f1)])
    return Table("thresholds", list(rows), ["threshold", *FIGURES], values)


def write_predictions(answered: Mapping[str, Answered], threshold: float | None) -> dict[str, str]:
    """Files that SQuAD's scripts read: an answer for each id, and by how much no answer scores higher.

    Args:
        threshold: None where each question gets an answer.
    """
    found = {
        name: "" if threshold is not None and one.no_answer > threshold else one.text
        for name, one in answered.items()
    }
    files = {"predictions.json": json.dumps(found, ensure_ascii=False, indent=0)}
    if threshold is not None:
        odds = {name: one.no_answer for name, one in answered.items()}
        files["null_odds.json"] = json.dumps(odds, indent=0)
    return files
