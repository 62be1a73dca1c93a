"""Evaluate a classifier: metrics, the confusion matrix, and figures of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tui_tuner.data.labels.problem import MULTI, REGRESSION
from tui_tuner.evaluation.class_metrics import (
    compute_class_figures,
    compute_matthews_correlation,
    compute_pearson_correlation,
    count_confusions,
    find_most_frequent_classes,
    measure_accuracy,
)
from tui_tuner.objectives.objective import EvaluationResult, ResultTable

MOST_CONFUSED = 20  # classes of a confusion matrix; of more, the most frequent ones
MOST_CLASSES = 50  # classes in the table of figures; of more, the most frequent ones
FIGURES = ("precision", "recall", "f1", "rows")


def judge_classes(
    problem: str, logits: np.ndarray, targets: np.ndarray, names: Sequence[str]
) -> EvaluationResult:
    """Compute metrics and tables.

    Args:
        logits: [rows, classes], or [rows, 1] for a regression.
        targets: int [rows]; 0 and 1, [rows, classes], for several classes; float [rows] for a regression.
    """
    if problem == REGRESSION:
        return EvaluationResult({"pearson": compute_pearson_correlation(targets, logits[:, 0])})
    if problem == MULTI:
        return _judge_several(logits > 0, targets > 0, names)
    predicted = logits.argmax(-1)
    table = count_confusions(targets, predicted, len(names))
    true, said = table.sum(1), table.sum(0)
    figures = compute_class_figures(np.diag(table), true, said)
    # A class that is neither in the rows nor predicted has no F1, and must not count as 0 in the macro mean.
    there = (true > 0) | (said > 0)
    metrics = {
        "accuracy": measure_accuracy(targets, predicted),
        **_macro_means(figures[there]),
        "mcc": compute_matthews_correlation(table),
    }
    return EvaluationResult(metrics, [make_confusion_table(table, names), _class_table(figures, true, names)])


def _judge_several(predicted: np.ndarray, true: np.ndarray, names: Sequence[str]) -> EvaluationResult:
    counts = true.sum(0)
    figures = compute_class_figures((predicted & true).sum(0), counts, predicted.sum(0))
    return EvaluationResult(
        {"accuracy": measure_accuracy(true, predicted), **_macro_means(figures)},
        [_class_table(figures, counts, names)],
    )


def _macro_means(figures: np.ndarray) -> dict[str, float]:
    """Return macro means of precision, recall and F1."""
    means = figures.mean(0).tolist() if len(figures) else [0.0] * 3
    return {"f1_macro": means[2], "precision": means[0], "recall": means[1]}


def make_confusion_table(table: np.ndarray, names: Sequence[str]) -> ResultTable:
    """Return a confusion matrix as a table, limited to the most frequent classes."""
    kept = find_most_frequent_classes(table.sum(1), MOST_CONFUSED)
    shown = [names[place] for place in kept]
    return ResultTable("confusion", shown, shown, table[np.ix_(kept, kept)].tolist())


def _class_table(figures: np.ndarray, counts: np.ndarray, names: Sequence[str]) -> ResultTable:
    kept = find_most_frequent_classes(counts, MOST_CLASSES)
    values = [[*figures[place].tolist(), float(counts[place])] for place in kept]
    return ResultTable("classes", [names[place] for place in kept], FIGURES, values)
