"""Which classes a model's head tells apart: those of the rows, in the order of a head that is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.data.labels.problem import REGRESSION, Tally

REGRESSED = "LABEL_0"  # what transformers calls the one output of a regression


@dataclass(frozen=True)
class Classes:
    """The classes of a run.

    Args:
        names: By number, as the model's config will name them.
        numbers: The number of each class as the rows spell it.
        kept: The base model's own head tells these classes apart, and is trained on.
    """

    names: list[str]
    numbers: dict[str, int]
    kept: bool = False


def classes_of(tally: Tally, problem: str) -> Classes:
    """The classes of the rows. A head of the base model that knows them keeps its names and their order.

    It knows them if it has the same names but for capitals, or if the rows have its numbers for names.
    """
    if problem == REGRESSION:
        return Classes([REGRESSED], {}, len(tally.base) == 1)
    names, base = tally.names, tally.base
    if len(base) == len(names):
        if names == [str(number) for number in range(len(names))]:
            own = names if all(name.startswith("LABEL_") for name in base) else list(base)
            return Classes(own, {name: number for number, name in enumerate(names)}, True)
        folded = {name.casefold(): number for number, name in enumerate(base)}
        if len(folded) == len(base) and {name.casefold() for name in names} == folded.keys():
            return Classes(list(base), {name: folded[name.casefold()] for name in names}, True)
    return Classes(names, {name: number for number, name in enumerate(names)})


def choose_head(names: Sequence[str], base: Sequence[str]) -> Callable[[Any, Sequence[str]], None] | None:
    """What gives a model a new head, where the one in its files tells other classes apart; None if it fits."""
    return None


__all__ = ["Classes", "choose_head", "classes_of"]
