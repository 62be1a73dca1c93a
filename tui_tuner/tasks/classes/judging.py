"""What an evaluation of a classifier says: metrics, the confusion matrix, and figures of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tui_tuner.data.labels.problem import MULTI, REGRESSION
from tui_tuner.evaluation.classes import (
    accuracy,
    confusion,
    matthews,
    most_frequent,
    of_classes,
    pearson,
)
from tui_tuner.objectives.base import Judged, Table

MOST_CONFUSED = 20  # classes of a confusion matrix; of more, the most frequent ones
MOST_CLASSES = 50  # classes with figures of their own
FIGURES = ("precision", "recall", "f1", "rows")


def judge_classes(problem: str, logits: np.ndarray, targets: np.ndarray, names: Sequence[str]) -> Judged:
    """Metrics and tables.

    Args:
        logits: [rows, classes], or [rows, 1] of a regression.
        targets: int [rows]; 0 and 1, [rows, classes], for several classes; numbers of a regression.
    """
    if problem == REGRESSION:
        return Judged({"pearson": pearson(targets, logits[:, 0])})
    if problem == MULTI:
        return _judge_several(logits > 0, targets > 0, names)
    predicted = logits.argmax(-1)
    table = confusion(targets, predicted, len(names))
    true, said = table.sum(1), table.sum(0)
    figures = of_classes(np.diag(table), true, said)
    there = (true > 0) | (said > 0)  # a class that nobody has and nobody named says nothing
    metrics = {
        "accuracy": accuracy(targets, predicted),
        **_means(figures[there]),
        "mcc": matthews(table),
    }
    return Judged(metrics, [confusion_of(table, names), _each(figures, true, names)])


def _judge_several(predicted: np.ndarray, true: np.ndarray, names: Sequence[str]) -> Judged:
    counts = true.sum(0)
    figures = of_classes((predicted & true).sum(0), counts, predicted.sum(0))
    return Judged({"accuracy": accuracy(true, predicted), **_means(figures)}, [_each(figures, counts, names)])


def _means(figures: np.ndarray) -> dict[str, float]:
    """Macro means of precision, recall and F1."""
    means = figures.mean(0).tolist() if len(figures) else [0.0] * 3
    return {"f1_macro": means[2], "precision": means[0], "recall": means[1]}


def confusion_of(table: np.ndarray, names: Sequence[str]) -> Table:
    """A confusion matrix as a table; of many classes, of the frequent ones."""
    kept = most_frequent(table.sum(1), MOST_CONFUSED)
    shown = [names[place] for place in kept]
    return Table("confusion", shown, shown, table[np.ix_(kept, kept)].tolist())


def _each(figures: np.ndarray, counts: np.ndarray, names: Sequence[str]) -> Table:
    kept = most_frequent(counts, MOST_CLASSES)
    values = [[*figures[place].tolist(), float(counts[place])] for place in kept]
    return Table("classes", [names[place] for place in kept], FIGURES, values)
