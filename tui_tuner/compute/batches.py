"""Which sequences make an optimizer step, and how they lie in forward passes.

Everything here follows from (seed, epoch, step) alone, with a generator of its own: nothing is drawn from the
global random state, so a resumed run seeks to its step and sees the same sequences.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

IGNORE = -100


class Rows(Protocol):
    """Tokenised rows: `rows[i]` is (ids int32, trained bool), both [length]; `trained` marks targets."""

    lengths: np.ndarray

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class MicroSize:
    """How much goes through the model at once: sequences, and the tokens they may have together."""

    sequences: int
    tokens: int

    def halved(self) -> MicroSize:
        return MicroSize(max(1, self.sequences // 2), max(1, self.tokens // 2))


class StepPlan:
    """The sequences of each optimizer step: a new random order each epoch, dealt out `batch_size` at a time.

    The last step of an epoch has what is left. With several devices each takes a share of the step's
    sequences, balanced by length (longest first, to the device with the fewest tokens).
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, seed: int, world: int = 1, rank: int = 0
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.world, self.rank = world, rank
        self.steps_per_epoch = math.ceil(len(lengths) / batch_size)
        self._order: tuple[int, np.ndarray] | None = None

    def order(self, epoch: int) -> np.ndarray:
        """Row numbers in the order of an epoch."""
        if self._order is None or self._order[0] != epoch:
            generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, epoch])))
            self._order = (epoch, generator.permutation(len(self.lengths)))
        return self._order[1]

    def batch(self, epoch: int, step: int) -> list[int]:
        """Row numbers of a step (counted from the epoch's beginning), over all devices."""
        return self.order(epoch)[step * self.batch_size : (step + 1) * self.batch_size].tolist()

    def share(self, batch: Sequence[int]) -> list[int]:
        """This device's sequences of a step."""
        if self.world == 1:
            return list(batch)
        loads = [(0, rank) for rank in range(self.world)]
        mine = []
        for row in sorted(batch, key=lambda row: (-int(self.lengths[row]), row)):
            tokens, rank = loads.pop(0)
            if rank == self.rank:
                mine.append(row)
            insort(loads, (tokens + int(self.lengths[row]), rank))
        return mine


def pack(rows: Sequence[int], lengths: np.ndarray, size: MicroSize) -> list[list[int]]:
    """Lay sequences into as few flat rows of at most `size.tokens` as best fit finds, longest first.

    A sequence that is longer than the budget gets a row to itself. The result does not depend on anything
    but the arguments.
    """
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (free tokens, bin), sorted
    for row in sorted(rows, key=lambda row: (-int(lengths[row]), row)):
        length = int(lengths[row])
        place = bisect_left(rooms, (length, -1))
        if place < len(rooms):
            free, index = rooms.pop(place)
            bins[index].append(row)
        else:
            free, index = size.tokens, len(bins)
            bins.append([row])
        insort(rooms, (free - length, index))
    return bins


def pad_groups(rows: Sequence[int], lengths: np.ndarray, size: MicroSize) -> list[list[int]]:
    """Groups of at most `size.sequences` of similar length, for models that read padded rows."""
    ordered = sorted(rows, key=lambda row: (-int(lengths[row]), row))
    return [ordered[start : start + size.sequences] for start in range(0, len(ordered), size.sequences)]


@dataclass
class Micro:
    """One forward pass.

    Args:
        rows: Row numbers in it.
        input_ids: [B, T] int64; B is 1 for a flat row without padding.
        keep: [B, T] bool: positions whose next token is a target.
        places: [K] int64: the same positions of a flat row; indexing by numbers asks the device for nothing,
            where a mask has to be counted first. None for padded rows.
        targets: [K] int64: the next tokens of those positions, in reading order.
        position_ids: [1, T], restarting at each sequence; None for padded rows.
        attention_mask: [B, T] of a padded row; None for flat ones.
        lengths: Tokens of each sequence.
        layout: How sequences share their beginning (`shared_prefix.Layout`); None where each stands alone.
    """

    rows: list[int]
    input_ids: Any
    keep: Any
    targets: Any
    lengths: list[int]
    position_ids: Any = None
    attention_mask: Any = None
    layout: Any = None
    places: Any = None

    @property
    def supervised(self) -> int:
        """Targets in it; known without asking the device."""
        return int(self.targets.shape[0])

    @property
    def tokens(self) -> int:
        """Tokens of the sequences, padding not counted."""
        return sum(self.lengths)

    def to(self, device: Any) -> Micro:
        """A copy on a device."""

        pinned = getattr(device, "type", str(device)).startswith("cuda")  # only then does a copy not wait

        def move(tensor: Any) -> Any:
            if tensor is None:
                return None
            return (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=True)

        return Micro(
            self.rows,
            move(self.input_ids),
            move(self.keep),
            move(self.targets),
            self.lengths,
            move(self.position_ids),
            move(self.attention_mask),
            self.layout,
            move(self.places),
        )


def flat(data: Rows, rows: Sequence[int]) -> Micro:
    """Sequences side by side in one row, without padding; positions restart at each."""
    import torch

    parts = [data[row] for row in rows]
    ids = np.concatenate([part[0] for part in parts]).astype(np.int64)
    keep = np.concatenate([predicts(part[1]) for part in parts])
    positions = np.concatenate([np.arange(len(part[0])) for part in parts])
    places = np.flatnonzero(keep)
    return Micro(
        list(rows),
        torch.from_numpy(ids)[None],
        torch.from_numpy(keep)[None],
        torch.from_numpy(ids[places + 1]),
        [len(part[0]) for part in parts],
        position_ids=torch.from_numpy(positions)[None],
        places=torch.from_numpy(places),
    )


def padded(data: Rows, rows: Sequence[int], pad: int) -> Micro:
    """Sequences one below the other, padded on the right to the longest."""
    import torch

    parts = [data[row] for row in rows]
    longest = max(len(part[0]) for part in parts)
    ids = np.full((len(parts), longest), pad, dtype=np.int64)
    keep = np.zeros((len(parts), longest), dtype=bool)
    mask = np.zeros((len(parts), longest), dtype=np.int64)
    for line, (tokens, trained) in enumerate(parts):
        ids[line, : len(tokens)] = tokens
        mask[line, : len(tokens)] = 1
        keep[line, : len(tokens)] = predicts(trained)
    lines, columns = np.nonzero(keep)
    return Micro(
        list(rows),
        torch.from_numpy(ids),
        torch.from_numpy(keep),
        torch.from_numpy(ids[lines, columns + 1]),
        [len(part[0]) for part in parts],
        attention_mask=torch.from_numpy(mask),
    )


def micros(
    data: Rows,
    rows: Sequence[int],
    size: MicroSize,
    packing: bool,
    pad: int = 0,
    lay: Callable[[Rows, Sequence[int]], Micro] | None = None,
) -> Iterator[Micro]:
    """The forward passes of a step; `lay` makes a flat row of sequences, `flat` unless it is given."""
    if packing:
        for group in pack(rows, data.lengths, size):
            yield (lay or flat)(data, group)
    else:
        for group in pad_groups(rows, data.lengths, size):
            yield padded(data, group, pad)


def predicts(trained: np.ndarray) -> np.ndarray:
    """Positions whose next token, in the same sequence, is a target; the first token has no predecessor."""
    keep = np.zeros(len(trained), dtype=bool)
    keep[:-1] = trained[1:]
    return keep
