"""Weigh the classes in the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tui_tuner.data.labels.names import name_class
from tui_tuner.data.labels.problem import MULTI, REGRESSION
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.text import join_first_names, one_line

_SHOWN = 20
FIELD = "training.class_weights"


def compute_class_weights(
    asked: Mapping[str, float] | str, targets: np.ndarray, names: Sequence[str], problem: str
) -> np.ndarray | None:
    """Return a weight for each class, float64 [classes]; None if all have the same weight.

    `balanced` is rows / (classes * rows of the class), over the classes that have rows. With several classes
    at once, the weight of each is rows without it / rows with it.

    Args:
        targets: Of the training rows: int [rows], or [rows, classes] of 0 and 1 for several classes.

    Raises:
        ConfigError: a name that no class has, a weight that is not above zero, or weights of a regression.
    """
    check_class_weights(asked, names, problem)
    if asked == "none" or problem == REGRESSION:
        return None
    if isinstance(asked, Mapping):
        # The config may write 1 where the data has "1.0": both are one class.
        told = {name_class(name): weight for name, weight in asked.items()}
        return np.array([told.get(name, 1.0) for name in names])
    counts = np.zeros(len(names))
    if problem == MULTI:
        # As in the `pos_weight` of binary cross-entropy.
        counts = targets.sum(0).astype(float)
        # A class without rows keeps weight 1: there is nothing to balance, and no division by zero.
        rare = np.where(counts > 0, counts, 1.0)
        return np.where(counts > 0, np.maximum(len(targets) - counts, 1.0) / rare, 1.0)
    counts = np.bincount(targets, minlength=len(names)).astype(float)
    there = counts > 0
    return np.where(there, len(targets) / (there.sum() * np.where(there, counts, 1.0)), 1.0)


def check_class_weights(asked: Mapping[str, float] | str, names: Sequence[str], problem: str) -> None:
    """Raise `ConfigError` unless these classes can have these weights."""
    if asked == "none":
        return
    if problem == REGRESSION:
        raise ConfigError(
            _("the labels are numbers, so there are no classes to weigh."),
            where=FIELD,
            hint=_("Set it to none, or data.problem to single."),
        )
    if not isinstance(asked, Mapping):
        return
    shown = ", ".join(join_first_names(names, _SHOWN))
    for name, weight in asked.items():
        if name_class(name) not in names:
            raise ConfigError(
                _("there is no class {name!r}.", name=one_line(name, 40)),
                where=FIELD,
                hint=_("The classes are {names}.", names=shown),
            )
        if not (math.isfinite(weight) and weight > 0):
            raise ConfigError(
                _(
                    "the weight of class {name!r} is {weight}, which is not above zero.",
                    name=one_line(name, 40),
                    weight=weight,
                ),
                where=FIELD,
                hint=_("To leave a class out of training, remove its rows from the data."),
            )
