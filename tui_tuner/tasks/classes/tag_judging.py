"""What an evaluation of tags says: metrics, and a table with a row for each type."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from tui_tuner.evaluation.classes import confusion, most_frequent
from tui_tuner.evaluation.tagging import Judgement, Tags, judge_tags
from tui_tuner.objectives.base import Judged, Table
from tui_tuner.tasks.classes.judging import MOST_CLASSES, confusion_of


def judge_rows(wanted: Sequence[Tags], found: Sequence[Tags]) -> Judged:
    """Hold the tags that a model found against those that are right, a row each."""
    judgement = judge_tags(wanted, found)
    tables = [class_table(judgement)]
    if not judgement.scheme:
        tables.append(confusion_table(wanted, found))
    return Judged(metrics_of(judgement), tables)


def metrics_of(judgement: Judgement) -> dict[str, float]:
    """The metrics of an evaluation by their names."""
    found = {"accuracy": judgement.accuracy}
    found |= dict(zip(("precision", "recall", "f1"), judgement.counts.total(), strict=True))
    if not judgement.scheme:
        found["f1_macro"] = judgement.f1_macro
    if judgement.strict is not None:
        names = ("precision_strict", "recall_strict", "f1_strict")
        found |= dict(zip(names, judgement.strict.total(), strict=True))
    return found


def class_table(judgement: Judgement) -> Table:
    """Precision, recall and F1 of each type, and how often it is there; of very many, the frequent ones."""
    counts = judgement.counts
    types = counts.types()
    kept = [types[place] for place in most_frequent([counts.wanted[type] for type in types], MOST_CLASSES)]
    return Table(
        "classes",
        kept,
        ("precision", "recall", "f1", "support"),
        [(*counts.of(type), float(counts.wanted[type])) for type in kept],
    )


def confusion_table(wanted: Sequence[Tags], found: Sequence[Tags]) -> Table:
    """Words of each tag (down) that were taken for each tag (across); of many tags, the frequent ones."""
    true, said = (list(chain.from_iterable(rows)) for rows in (wanted, found))
    names = sorted({*true, *said})
    number = {name: place for place, name in enumerate(names)}
    places = [np.array([number[tag] for tag in tags], dtype=np.int64) for tags in (true, said)]
    return confusion_of(confusion(places[0], places[1], len(names)), names)
