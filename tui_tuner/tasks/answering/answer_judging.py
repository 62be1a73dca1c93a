"""Judge answers to held-out questions: exact match, F1, and the threshold, for each kind of question."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tui_tuner.evaluation.squad import (
    AnsweredQuestion,
    Scores,
    compute_mean_score,
    find_best_squad_threshold,
    raise_squad_threshold,
    score_squad_answers,
    score_squad_threshold,
)
from tui_tuner.objectives.objective import EvaluationResult, ResultTable
from tui_tuner.tasks.answering.threshold import NAME

FIGURES = ("exact_match", "f1")


def judge_answers(
    questions: Sequence[AnsweredQuestion], told: float | str
) -> tuple[EvaluationResult, float | None]:
    """Return metrics, tables and the threshold that was used; None for it if every question has an answer.

    Args:
        told: `evaluation.null_threshold`.
    """
    unanswered = any(not one.answers for one in questions)
    raw = score_squad_answers(questions, unanswered)
    if not unanswered and isinstance(told, str):
        return EvaluationResult(_mean_scores(raw)), None
    if not unanswered:
        return EvaluationResult(_mean_scores(score_squad_threshold(questions, raw, float(told)))), float(told)
    best = {
        "exact_match": find_best_squad_threshold(questions, raw.exact),
        "f1": find_best_squad_threshold(questions, raw.f1),
    }
    # Not the best threshold itself: it equals the score of some question, where rounding would decide.
    threshold = raise_squad_threshold(questions, best["f1"]) if isinstance(told, str) else float(told)
    scores = score_squad_threshold(questions, raw, threshold)
    tables = [_kind_table(questions, scores), _threshold_table(questions, raw, threshold, best)]
    return EvaluationResult({**_mean_scores(scores), NAME: threshold}, tables), threshold


def _mean_scores(scores: Scores) -> dict[str, float]:
    return {
        "exact_match": compute_mean_score(scores.exact) or 0.0,
        "f1": compute_mean_score(scores.f1) or 0.0,
    }


def _kind_table(questions: Sequence[AnsweredQuestion], scores: Scores) -> ResultTable:
    """Return the table of questions with and without an answer, as SQuAD 2.0 names them."""
    values = []
    for wanted in (True, False):
        own = [place for place, one in enumerate(questions) if bool(one.answers) == wanted]
        exact, f1 = ([one[place] for place in own] for one in (scores.exact, scores.f1))
        values.append([compute_mean_score(exact), compute_mean_score(f1), float(len(own))])
    return ResultTable("classes", ["HasAns", "NoAns"], [*FIGURES, "questions"], values)


def _threshold_table(
    questions: Sequence[AnsweredQuestion], raw: Scores, used: float, best: Mapping[str, float]
) -> ResultTable:
    """Return the table of the threshold in use and those with the best scores."""
    rows = {"used": used, **{f"best_{name}": value for name, value in best.items()}}
    values = []
    for value in rows.values():
        scores = score_squad_threshold(questions, raw, value)
        values.append([value, compute_mean_score(scores.exact), compute_mean_score(scores.f1)])
    return ResultTable("thresholds", list(rows), ["threshold", *FIGURES], values)


def write_squad_predictions(
    answered: Mapping[str, AnsweredQuestion], threshold: float | None
) -> dict[str, str]:
    """Return files for SQuAD's scripts: an answer for each id, and how much higher no answer scores.

    Args:
        threshold: None if every question gets an answer.
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
