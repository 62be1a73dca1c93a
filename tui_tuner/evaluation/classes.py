"""Figures of predicted classes and numbers, as scikit-learn and SciPy define them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def confusion(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Rows of each class (down) that were taken for each class (across), int64 [classes, classes]."""
    places = true.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


def accuracy(true: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the rows that are right; of several classes at once, those in which every class is."""
    same = true == predicted
    return float((same.all(1) if same.ndim == 2 else same).mean())


def matthews(table: np.ndarray) -> float:
    """Matthews correlation of a confusion matrix, of any number of classes; 0 where it is undefined."""
    counts = table.astype(np.float64)
    rows, true, predicted = counts.sum(), counts.sum(1), counts.sum(0)
    together = np.trace(counts) * rows - true @ predicted
    spread = (rows * rows - predicted @ predicted) * (rows * rows - true @ true)
    return float(together / math.sqrt(spread)) if spread > 0 else 0.0


def of_classes(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 of each class, float64 [classes, 3]; 0 where one is 0 / 0.

    Args:
        hits, true, predicted: Rows of each class that were found, that there are, and that were said.
    """
    hits, true, predicted = (np.asarray(part, dtype=np.float64) for part in (hits, true, predicted))
    return np.stack([_ratio(hits, predicted), _ratio(hits, true), _ratio(2 * hits, true + predicted)], axis=1)


def pearson(true: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson's correlation; 0 where either side never changes."""
    one, other = (part.astype(np.float64) - part.astype(np.float64).mean() for part in (true, predicted))
    norms = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    if not all(norms) or len(one) < 2:
        return 0.0
    return float(np.clip((one / norms[0]) @ (other / norms[1]), -1.0, 1.0))


def probabilities(logits: np.ndarray, several: bool) -> np.ndarray:
    """Probabilities of the classes of each row, [rows, classes]; of several classes each for itself."""
    if several:
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def most_frequent(counts: Sequence[int] | np.ndarray, most: int) -> list[int]:
    """The places of the `most` largest counts, in their own order."""
    order = sorted(range(len(counts)), key=lambda place: (-int(counts[place]), place))[:most]
    return sorted(order)
