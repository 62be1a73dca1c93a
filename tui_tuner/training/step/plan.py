"""Choose the examples of each optimizer step.

Everything here follows from (seed, epoch, step) alone, with a separate generator: nothing is drawn from the
global random state, so a resumed run seeks to its step and sees the same examples.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

import numpy as np


class StepPlan:
    """Deals out the examples in a new random order each epoch, `batch_size` at a time.

    The last step of an epoch takes the rest. With several devices, each takes a share of the step's examples,
    balanced by length (longest first, to the device with the fewest tokens).

    Args:
        lengths: Tokens of each example.
        groups: A group number for each example; the examples of a group stay together and count as one of
            `batch_size`. None if there are no groups.
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
        self._members = None if groups is None else _group_members(groups)
        self.units = len(lengths) if self._members is None else len(self._members)
        self.steps_per_epoch = math.ceil(self.units / batch_size)
        self._order: tuple[int, np.ndarray] | None = None

    def order_epoch(self, epoch: int) -> np.ndarray:
        """Return the order of an epoch: numbers of examples, or of groups if there are any."""
        if self._order is None or self._order[0] != epoch:
            generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
            self._order = (epoch, generator.permutation(self.units))
        return self._order[1]

    def find_batch(self, epoch: int, step: int) -> list[int]:
        """Return the numbers of a step's examples over all devices; `step` counts from the epoch's start."""
        units = self.order_epoch(epoch)[step * self.batch_size : (step + 1) * self.batch_size].tolist()
        if self._members is None:
            return units
        return [row for unit in units for row in self._members[unit].tolist()]

    def tokens_of_steps(self, most: int) -> list[int]:
        """Return this device's tokens in each of the first steps of the first epoch, at most `most` steps."""
        steps = range(min(most, self.steps_per_epoch))
        return [self._count_tokens(self.find_share(self.find_batch(0, step))) for step in steps]

    def find_share(self, batch: Sequence[int]) -> list[int]:
        """Return this device's examples of a step."""
        if self.world == 1:
            return list(batch)
        units: dict[int, list[int]] = {}
        for row in batch:
            units.setdefault(row if self._groups is None else int(self._groups[row]), []).append(row)
        # Equal numbers of tokens are ordered by row and by rank, so that all ranks find the same division
        # without exchanging anything.
        loads = [(0, rank) for rank in range(self.world)]
        mine = []
        for tokens, rows in sorted((-self._count_tokens(rows), rows) for rows in units.values()):
            load, rank = loads.pop(0)
            if rank == self.rank:
                mine += rows
            insort(loads, (load - tokens, rank))
        return mine

    def _count_tokens(self, rows: Sequence[int]) -> int:
        return sum(int(self.lengths[row]) for row in rows)


def _group_members(groups: np.ndarray) -> list[np.ndarray]:
    """Return the examples of each group in their order, groups in the order of their first example."""
    _, first, which = np.unique(groups, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[which]
    rows = np.argsort(place, kind="stable")
    return np.split(rows, np.flatnonzero(np.diff(place[rows])) + 1)
