"""Which examples make an optimizer step.

Everything here follows from (seed, epoch, step) alone, with a generator of its own: nothing is drawn from the
global random state, so a resumed run seeks to its step and sees the same examples.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

import numpy as np


class StepPlan:
    """The examples of each optimizer step: a new random order each epoch, dealt out `batch_size` at a time.

    The last step of an epoch has what is left. With several devices each takes a share of the step's
    examples, balanced by length (longest first, to the device with the fewest tokens).

    Args:
        lengths: Tokens of each example.
        groups: A number for each example; those of one number stay together, and count as one of
            `batch_size`. None where each stands for itself.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        world: int = 1,
        rank: int = 0,
        groups: np.ndarray | None = None,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.world, self.rank = world, rank
        self._groups = groups
        self._members = None if groups is None else _members(groups)
        self.units = len(lengths) if self._members is None else len(self._members)
        self.steps_per_epoch = math.ceil(self.units / batch_size)
        self._order: tuple[int, np.ndarray] | None = None

    def order(self, epoch: int) -> np.ndarray:
        """The order of an epoch: numbers of examples, or of groups where there are any."""
        if self._order is None or self._order[0] != epoch:
            generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
            self._order = (epoch, generator.permutation(self.units))
        return self._order[1]

    def batch(self, epoch: int, step: int) -> list[int]:
        """Numbers of the examples of a step (counted from the epoch's beginning), over all devices."""
        units = self.order(epoch)[step * self.batch_size : (step + 1) * self.batch_size].tolist()
        if self._members is None:
            return units
        return [row for unit in units for row in self._members[unit].tolist()]

    def tokens_of_steps(self, most: int) -> list[int]:
        """This device's tokens in the first steps of the first epoch, `most` of them at most."""
        steps = range(min(most, self.steps_per_epoch))
        return [self._tokens(self.share(self.batch(0, step))) for step in steps]

    def share(self, batch: Sequence[int]) -> list[int]:
        """This device's examples of a step."""
        if self.world == 1:
            return list(batch)
        units: dict[int, list[int]] = {}
        for row in batch:
            units.setdefault(row if self._groups is None else int(self._groups[row]), []).append(row)
        loads = [(0, rank) for rank in range(self.world)]
        mine = []
        for tokens, rows in sorted((-self._tokens(rows), rows) for rows in units.values()):
            load, rank = loads.pop(0)
            if rank == self.rank:
                mine += rows
            insort(loads, (load - tokens, rank))
        return mine

    def _tokens(self, rows: Sequence[int]) -> int:
        return sum(int(self.lengths[row]) for row in rows)


def _members(groups: np.ndarray) -> list[np.ndarray]:
    """The examples of each group, in their order; groups in the order of their first example."""
    _, first, which = np.unique(groups, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[which]
    rows = np.argsort(place, kind="stable")
    return np.split(rows, np.flatnonzero(np.diff(place[rows])) + 1)
