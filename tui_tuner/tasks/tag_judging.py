"""What an evaluation of tags says: metrics, and a table with a row for each type."""

from __future__ import annotations

from collections.abc import Sequence

from tui_tuner.evaluation.tagging import Judgement, Tags, judge_tags
from tui_tuner.objectives.base import Judged, Table


def judge_rows(wanted: Sequence[Tags], found: Sequence[Tags]) -> Judged:
    """Hold the tags that a model found against those that are right, a row each."""
    judgement = judge_tags(wanted, found)
    return Judged(metrics_of(judgement), [class_table(judgement)])


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
    """Precision, recall and F1 of each type, and how often the data has it."""
    counts = judgement.counts
    types = counts.types()
    return Table(
        "classes",
        types,
        ("precision", "recall", "f1", "support"),
        [(*counts.of(type), float(counts.wanted[type])) for type in types],
    )
