"""Decide what the labels of a data set are: one class, several classes, or a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.data.labels.names import sort_classes
from tui_tuner.locales import _, _n

SINGLE, MULTI, REGRESSION = "single", "multi", "regression"
MOST_CLASSES = 10_000  # more names than that are not classes
FEW_VALUES = 20  # up to this many different whole numbers are classes, however few rows there are
FRACTIONS = 0.1  # share of labels with a fraction; fewer are mistakes among classes


@dataclass
class LabelTally:
    """The counts of the labels of a file.

    Args:
        classes: The rows of each class; empty if there were too many different labels.
        rows: Rows with a label.
        texts: Labels that are not numbers.
        fractions: Numbers with a fraction.
        lists: Labels that are lists of classes.
        several: Lists with no class, or more than one.
        base: Names of the classes of the base model's head; empty without such a head.
    """

    classes: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    texts: int = 0
    fractions: int = 0
    lists: int = 0
    several: int = 0
    base: list[str] = field(default_factory=list)

    @classmethod
    def from_learned(cls, values: Mapping[str, Any]) -> LabelTally:
        """Restore a tally from what `RecordEncoder.export_learned` returned."""
        # Stores of older versions lack some of the counts.
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**known)

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of their numbers."""
        return sort_classes(self.classes)


def decide_problem(asked: str, tally: LabelTally) -> tuple[str, str]:
    """Decide which problem a run solves; returns it with the reason.

    Args:
        asked: `data.problem`.
    """
    if asked != "auto":
        return asked, _("as asked for")
    if tally.lists:
        # Lists and single values mixed are several classes written in two ways.
        if tally.several or tally.lists < tally.rows:
            return MULTI, _("labels are lists of classes")
        return SINGLE, _("each list of labels holds one class")
    different = len(tally.classes)
    if tally.texts:
        return SINGLE, _n("{count} class", "{count} classes", different, count=different)
    # A single 3.5 among classes is a typing error rather than a regression.
    if tally.fractions and tally.fractions >= FRACTIONS * tally.rows:
        return REGRESSION, _("labels are numbers with fractions")
    # Whole numbers that hardly repeat are values, such as prices or years.
    if not tally.classes or (different > FEW_VALUES and 2 * different > tally.rows):
        return REGRESSION, _("almost every row has a different number")
    return SINGLE, _n("{count} class", "{count} classes", different, count=different)
