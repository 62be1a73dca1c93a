"""Which classes a model's head tells apart: those of the rows, in the order of a head that is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.labels.names import class_name, in_order
from tui_tuner.data.labels.problem import REGRESSION, Tally, settle_problem
from tui_tuner.models.heads import are_unnamed

REGRESSED = "LABEL_0"  # what transformers calls the one output of a regression


@dataclass(frozen=True)
class Classes:
    """The classes of a run.

    Args:
        names: By number, as the model's config will name them.
        numbers: The number of each class as the rows spell it.
        kept: The base model's own head tells these classes apart, and is trained on.
    """

    problem: str
    names: list[str]
    numbers: dict[str, int]
    kept: bool = False


def classes_of_run(config: RunConfig, tally: Tally) -> Classes:
    """The classes of the rows. A head of the base model that knows them keeps its names and their order.

    It knows them if it has the same names but for capitals, or if the rows have its numbers for names.
    """
    problem, _why = settle_problem(config.data.problem, tally)
    if problem == REGRESSION:
        return Classes(problem, [REGRESSED], {}, len(tally.base) == 1)
    names, base = tally.names, [class_name(name) for name in tally.base]
    plain = {name: number for number, name in enumerate(names)}
    if len(base) != len(names) or len(base) < 2:
        return Classes(problem, names, plain)
    if names == [str(number) for number in range(len(names))] and in_order(base) != names:
        return Classes(problem, names if are_unnamed(base) else base, plain, True)
    folded = {name.casefold(): number for number, name in enumerate(base)}
    if len(folded) == len(base) and {name.casefold() for name in names} == folded.keys():
        return Classes(problem, base, {name: folded[name.casefold()] for name in names}, True)
    return Classes(problem, names, plain)


def has_other_classes(classes: Classes, base: Sequence[str]) -> bool:
    """Whether the head in a model's files is one for something else.

    Args:
        base: What the files say, which may be those of a run's own model.
    """
    if not base:
        return False
    if classes.problem == REGRESSION:
        return len(base) != 1
    same = [class_name(name) for name in base] == classes.names
    return not same and not (classes.kept and len(base) == len(classes.names))
