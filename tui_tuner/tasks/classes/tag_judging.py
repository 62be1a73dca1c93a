"""Evaluate tags: metrics, and a table with a row for each type."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from tui_tuner.evaluation.class_metrics import count_confusions, find_most_frequent_classes
from tui_tuner.evaluation.tagging import Judgement, Tags, score_tags
from tui_tuner.objectives.objective import EvaluationResult, ResultTable
from tui_tuner.tasks.classes.class_judging import MOST_CLASSES, make_confusion_table


def judge_tagged_rows(wanted: Sequence[Tags], found: Sequence[Tags]) -> EvaluationResult:
    """Compare the tags that a model found with the correct ones, row by row."""
    judgement = score_tags(wanted, found)
    tables = [make_tag_table(judgement)]
    if not judgement.scheme:
        tables.append(make_tag_confusion_table(wanted, found))
    return EvaluationResult(collect_tag_metrics(judgement), tables)


def collect_tag_metrics(judgement: Judgement) -> dict[str, float]:
    """Return the metrics of an evaluation by name."""
    found = {"accuracy": judgement.accuracy}
    found |= dict(zip(("precision", "recall", "f1"), judgement.counts.total_figures(), strict=True))
    if not judgement.scheme:
        found["f1_macro"] = judgement.f1_macro
    if judgement.strict is not None:
        names = ("precision_strict", "recall_strict", "f1_strict")
        found |= dict(zip(names, judgement.strict.total_figures(), strict=True))
    return found


def make_tag_table(judgement: Judgement) -> ResultTable:
    """Return precision, recall, F1 and frequency of each type, limited to the most frequent types."""
    counts = judgement.counts
    types = counts.list_types()
    kept = [
        types[place]
        for place in find_most_frequent_classes([counts.wanted[type] for type in types], MOST_CLASSES)
    ]
    return ResultTable(
        "classes",
        kept,
        ("precision", "recall", "f1", "support"),
        [(*counts.type_figures(type), float(counts.wanted[type])) for type in kept],
    )


def make_tag_confusion_table(wanted: Sequence[Tags], found: Sequence[Tags]) -> ResultTable:
    """Count the words of each tag (rows) by the predicted tag (columns), for the most frequent tags."""
    true, said = (list(chain.from_iterable(rows)) for rows in (wanted, found))
    names = sorted({*true, *said})
    number = {name: place for place, name in enumerate(names)}
    places = [np.array([number[tag] for tag in tags], dtype=np.int64) for tags in (true, said)]
    return make_confusion_table(count_confusions(places[0], places[1], len(names)), names)
