"""What the labels of a data set are: one class, several classes, or a number; by the rows or as told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.data.labels.names import in_order
from tui_tuner.locales import _, _n

SINGLE, MULTI, REGRESSION = "single", "multi", "regression"
MOST_CLASSES = 10_000  # more names than that are no classes
FEW_VALUES = 20  # so many different whole numbers are classes, however few rows there are
FRACTIONS = 0.1  # of the labels that are numbers with a fraction: fewer are mistakes among classes


@dataclass
class Tally:
    """What was counted of the labels of a file.

    Args:
        classes: How many rows each class has; empty where there were too many different labels.
        rows: Rows with a label.
        texts: Labels that spell no number.
        fractions: Numbers with a fraction.
        lists: Labels that are lists of classes.
        several: Lists with another number of classes than one.
        base: Names of the classes that the base model's own head tells apart; none without such a head.
    """

    classes: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    texts: int = 0
    fractions: int = 0
    lists: int = 0
    several: int = 0
    base: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Tally:
        """From what `Encoder.learned` gave."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**known)

    @property
    def names(self) -> list[str]:
        """The classes, in the order of their numbers."""
        return in_order(self.classes)


def settle_problem(asked: str, tally: Tally) -> tuple[str, str]:
    """The problem that a run solves, and why.

    Args:
        asked: `data.problem`.
    """
    if asked != "auto":
        return asked, _("as asked for")
    if tally.lists:
        if tally.several or tally.lists < tally.rows:
            return MULTI, _("labels are lists of classes")
        return SINGLE, _("each list of labels holds one class")
    different = len(tally.classes)
    if tally.texts:
        return SINGLE, _n("{count} class", "{count} classes", different, count=different)
    if tally.fractions and tally.fractions >= FRACTIONS * tally.rows:
        return REGRESSION, _("labels are numbers with fractions")
    if not tally.classes or (different > FEW_VALUES and 2 * different > tally.rows):
        return REGRESSION, _("almost every row has a number of its own")
    return SINGLE, _n("{count} class", "{count} classes", different, count=different)
