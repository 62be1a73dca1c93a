"""Compute metrics of predicted classes and numbers, as scikit-learn and SciPy define them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def count_confusions(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count rows by true class (down) and predicted class (across), int64 [classes, classes]."""
    # One number for each pair of classes, so that a single count gives the whole table.
    places = true.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes)


def measure_accuracy(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of correct rows; a row with several classes must have all of them right."""
    same = true == predicted
    return float((same.all(1) if same.ndim == 2 else same).mean())


def compute_matthews_correlation(table: np.ndarray) -> float:
    """Return the Matthews correlation of a confusion matrix of any size; 0 where it is undefined."""
    counts = table.astype(np.float64)
    rows, true, predicted = counts.sum(), counts.sum(1), counts.sum(0)
    together = np.trace(counts) * rows - true @ predicted
    spread = (rows * rows - predicted @ predicted) * (rows * rows - true @ true)
    return float(together / math.sqrt(spread)) if spread > 0 else 0.0


def compute_class_figures(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return precision, recall and F1 of each class, float64 [classes, 3]; 0 for 0 / 0.

    Args:
        hits, true, predicted: For each class, the rows found correctly, the rows of it, and the rows
            predicted.
    """
    hits, true, predicted = (np.asarray(part, dtype=np.float64) for part in (hits, true, predicted))
    return np.stack(
        [_safe_ratio(hits, predicted), _safe_ratio(hits, true), _safe_ratio(2 * hits, true + predicted)],
        axis=1,
    )


def compute_pearson_correlation(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return Pearson's correlation; 0 if either side is constant."""
    one, other = (part.astype(np.float64) - part.astype(np.float64).mean() for part in (true, predicted))
    norms = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    if not all(norms) or len(one) < 2:
        return 0.0
    return float(np.clip((one / norms[0]) @ (other / norms[1]), -1.0, 1.0))


def compute_class_probabilities(logits: np.ndarray, several: bool) -> np.ndarray:
    """Return probabilities of the classes of each row, [rows, classes]; with several classes each on its
    own.
    """
    if several:
        # The logistic function by tanh, which does not overflow for large negative logits.
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


def _safe_ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def find_most_frequent_classes(counts: Sequence[int] | np.ndarray, most: int) -> list[int]:
    """Return the indices of the `most` largest counts, in ascending order."""
    order = sorted(range(len(counts)), key=lambda place: (-int(counts[place]), place))[:most]
    return sorted(order)
