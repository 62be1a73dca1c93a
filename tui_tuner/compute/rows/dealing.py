"""Which sequences share a flat row on a GPU: a whole step where it fits, else rows of about one length."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from tui_tuner.compute.forward import MicroSize, pack


def deal(rows: Sequence[int], lengths: np.ndarray, size: MicroSize) -> list[list[int]]:
    """Lay sequences into as few flat rows as `pack` would, or fewer, of lengths as equal as can be.

    A tiny last row costs a pass of its own, and a length that is seen once. A sequence that is longer than
    `size.tokens` gets a row to itself. The result does not depend on anything but the arguments.
    """
    packed = pack(rows, lengths, size)
    total = sum(int(lengths[row]) for row in rows)
    counts = range(max(1, -(-total // size.tokens)), len(packed) + 1)

    def fits(count: int) -> bool:
        dealt = _longest_first(rows, lengths, count)
        return all(len(row) <= 1 or int(lengths[row].sum()) <= size.tokens for row in dealt)

    # By halves: of thousands of sequences that hardly share a row, one count after the other takes minutes
    place = bisect_left(counts, True, key=fits)
    if place == len(counts):
        return packed
    return [row for row in _longest_first(rows, lengths, counts[place]) if row]


def _longest_first(rows: Sequence[int], lengths: np.ndarray, count: int) -> list[list[int]]:
    """Each sequence to the shortest of `count` rows so far, the longest ones first."""
    dealt: list[list[int]] = [[] for _unused in range(count)]
    loads = [(0, place) for place in range(count)]
    for row in sorted(rows, key=lambda row: (-int(lengths[row]), row)):
        load, place = loads[0]
        dealt[place].append(row)
        heapq.heapreplace(loads, (load + int(lengths[row]), place))
    return dealt
