"""Figures of classes and numbers, against the same written down another way, and against scikit-learn's."""

from __future__ import annotations

import math
import random
import statistics
from fractions import Fraction

import numpy as np
import pytest

from tui_tuner.evaluation.class_metrics import (
    compute_class_figures,
    compute_class_probabilities,
    compute_matthews_correlation,
    compute_pearson_correlation,
    count_confusions,
    find_most_frequent_classes,
    measure_accuracy,
)
from tui_tuner.tasks.classes.class_judging import MOST_CLASSES, MOST_CONFUSED, judge_classes


def share(above: int, below: int) -> Fraction:
    return Fraction(above, below) if below else Fraction(0)


def by_hand(true: list[int], said: list[int]) -> dict[str, float]:
    """Row by row, in fractions."""
    pairs = list(zip(true, said, strict=True))
    figures = []
    for one in sorted({*true, *said}):
        hits = sum(t == one and s == one for t, s in pairs)
        precision, recall = share(hits, said.count(one)), share(hits, true.count(one))
        figures.append((precision, recall, share(2 * hits, said.count(one) + true.count(one))))
    total, right = len(pairs), sum(t == s for t, s in pairs)
    kinds = {*true, *said}
    covary = right * total - sum(true.count(k) * said.count(k) for k in kinds)
    spread = (total**2 - sum(said.count(k) ** 2 for k in kinds)) * (
        total**2 - sum(true.count(k) ** 2 for k in kinds)
    )
    means = [float(sum(column) / len(figures)) for column in zip(*figures, strict=True)]
    return {
        "accuracy": right / total,
        "precision": means[0],
        "recall": means[1],
        "f1_macro": means[2],
        "mcc": covary / math.sqrt(spread) if spread else 0.0,
    }


@pytest.mark.parametrize("seed", range(60))
def test_one_class_of_several(seed: int) -> None:
    chance = random.Random(seed)
    classes, rows = chance.randrange(2, 7), chance.randrange(1, 60)
    true = [chance.randrange(classes) for _ in range(rows)]
    # now and then nobody has a class, or names it, or all is right
    said = [t if chance.random() < chance.random() else chance.randrange(max(1, classes - 1)) for t in true]
    logits = np.full((rows, classes), -1.0)
    logits[np.arange(rows), said] = 1.0
    found = judge_classes("single", logits, np.array(true), [str(one) for one in range(classes)])
    assert found.metrics == pytest.approx(by_hand(true, said), abs=1e-12)
    table = found.tables[0]
    for one, row in enumerate(table.values):
        for other, count in enumerate(row):
            wanted = sum(t == one and s == other for t, s in zip(true, said, strict=True))
            assert count == wanted


def test_it_is_what_scikit_learn_says() -> None:
    """The numbers are those of scikit-learn 1.9 (macro means; `matthews_corrcoef`)."""
    true = np.array([0, 1, 2, 2, 3, 3, 3, 1, 0, 2, 1, 0, 3])
    said = np.array([0, 2, 2, 1, 3, 1, 3, 1, 0, 2, 0, 2, 0])
    found = judge_classes("single", np.eye(4)[said], true, ["a", "b", "c", "d"]).metrics
    wanted = {
        "accuracy": 0.5384615384615384,
        "precision": 0.5833333333333333,
        "recall": 0.5416666666666666,
        "f1_macro": 0.5357142857142857,
        "mcc": 0.40001280061443273,
    }
    assert found == pytest.approx(wanted, abs=1e-12)


def test_several_classes_at_once() -> None:
    """Accuracy is the share of rows in which every class is right; a class that nobody has counts as 0."""
    true = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
    logits = np.array([[2.0, -1.0, -1.0], [1.0, -0.5, -1.0], [-1.0, -1.0, -1.0], [-1.0, 3.0, 0.5]])
    found = judge_classes("multi", logits, true, ["a", "b", "c"])
    assert found.metrics == pytest.approx(
        {"accuracy": 0.5, "precision": 2 / 3, "recall": 0.5, "f1_macro": (1 + 2 / 3) / 3}, abs=1e-12
    )
    assert [table.name for table in found.tables] == ["classes"]
    assert [row[3] for row in found.tables[0].values] == [2, 2, 0]


@pytest.mark.parametrize("seed", range(20))
def test_correlation(seed: int) -> None:
    chance = random.Random(seed)
    true = [chance.gauss(3, 2) for _ in range(chance.randrange(2, 40))]
    said = [one * chance.random() + chance.gauss(0, 1) for one in true]
    assert compute_pearson_correlation(np.array(true), np.array(said)) == pytest.approx(
        statistics.correlation(true, said), abs=1e-12
    )


def test_nothing_that_changes_has_no_correlation() -> None:
    assert compute_pearson_correlation(np.array([1.0, 2.0]), np.array([3.0, 3.0])) == 0.0
    assert compute_pearson_correlation(np.array([1.0]), np.array([3.0])) == 0.0
    assert compute_matthews_correlation(count_confusions(np.array([0, 1]), np.array([0, 0]), 2)) == 0.0


def test_probabilities_survive_large_logits() -> None:
    logits = np.array([[1000.0, -1000.0], [0.0, 0.0]])
    assert compute_class_probabilities(logits, several=False).tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert compute_class_probabilities(logits, several=True).tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_tables_are_bounded() -> None:
    classes = 3 * MOST_CLASSES
    true = np.arange(classes).repeat(2)
    true = np.concatenate([true, np.full(10, classes - 1)])
    found = judge_classes("single", np.eye(classes)[true], true, [f"c{one}" for one in range(classes)])
    confused, each = found.tables
    assert len(confused.rows) == len(confused.values) == len(confused.values[0]) == MOST_CONFUSED
    assert len(each.rows) == MOST_CLASSES and each.rows[-1] == f"c{classes - 1}"
    assert find_most_frequent_classes([3, 1, 2], 2) == [0, 2]
    assert measure_accuracy(true, true) == found.metrics["accuracy"] == 1.0
    assert compute_class_figures(np.zeros(2), np.zeros(2), np.zeros(2)).tolist() == [[0.0] * 3] * 2
