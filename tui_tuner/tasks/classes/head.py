"""Decide which classes a model's head has: those of the rows, in the order of an existing head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.names import name_class, sort_classes
from tui_tuner.data.labels.problem import REGRESSION, LabelTally, decide_problem
from tui_tuner.models.head_classes import are_classes_unnamed

REGRESSED = "LABEL_0"  # transformers' name for the output of a regression


@dataclass(frozen=True)
class RunClasses:
    """The classes of a run.

    Args:
        names: Class names by number, for the model's config.
        numbers: The number of each class, by its spelling in the rows.
        kept: The base model's own head has these classes, and is trained further.
    """

    problem: str
    names: list[str]
    numbers: dict[str, int]
    kept: bool = False


def find_run_classes(config: RunConfig, tally: LabelTally) -> RunClasses:
    """Return the classes of the rows; those of an existing head with the same classes keep its order.

    A head has the same classes if its names differ only in case, or if the rows use its numbers as names.
    """
    problem, _why = decide_problem(config.data.problem, tally)
    if problem == REGRESSION:
        return RunClasses(problem, [REGRESSED], {}, len(tally.base) == 1)
    names, base = tally.class_names, [name_class(name) for name in tally.base]
    plain = {name: number for number, name in enumerate(names)}
    if len(base) != len(names) or len(base) < 2:
        return RunClasses(problem, names, plain)
    # Rows with numbers belong to a head with names; names such as LABEL_0 say no more than the numbers do.
    if names == [str(number) for number in range(len(names))] and sort_classes(base) != names:
        return RunClasses(problem, names if are_classes_unnamed(base) else base, plain, True)
    folded = {name.casefold(): number for number, name in enumerate(base)}
    # A head with two classes that differ only in case cannot be matched by ignoring case.
    if len(folded) == len(base) and {name.casefold() for name in names} == folded.keys():
        return RunClasses(problem, base, {name: folded[name.casefold()] for name in names}, True)
    return RunClasses(problem, names, plain)


def has_other_head_classes(classes: RunClasses, base: Sequence[str]) -> bool:
    """Return whether the head in a model's files was made for other classes.

    Args:
        base: Class names in the files, which may be those of a run's own model.
    """
    if not base:
        return False
    if classes.problem == REGRESSION:
        return len(base) != 1
    same = [name_class(name) for name in base] == classes.names
    return not same and not (classes.kept and len(base) == len(classes.names))
