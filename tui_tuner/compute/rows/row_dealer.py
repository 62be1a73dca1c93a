"""Distribution of sequences over flat rows on a GPU: a whole step if it fits, else rows of similar length."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from tui_tuner.compute.forward import MicroSize, pack_rows


def deal_rows(rows: Sequence[int], lengths: np.ndarray, size: MicroSize) -> list[list[int]]:
    """Distribute sequences over as few flat rows as `pack_rows`, or fewer, with lengths as equal as possible.

    A sequence that is longer than `size.tokens` gets a row to itself. The result depends on the arguments
    alone, so a resumed run gets the same rows.
    """
    # Best fit leaves a tiny last row, which costs a whole pass and a length that occurs only once.
    packed = pack_rows(rows, lengths, size)
    total = sum(int(lengths[row]) for row in rows)
    counts = range(max(1, -(-total // size.tokens)), len(packed) + 1)

    def fits(count: int) -> bool:
        dealt = _deal_longest_first(rows, lengths, count)
        return all(len(row) <= 1 or int(lengths[row].sum()) <= size.tokens for row in dealt)

    # Bisection: for thousands of sequences that hardly share rows, trying all counts would take minutes.
    place = bisect_left(counts, True, key=fits)
    if place == len(counts):
        return packed
    return [row for row in _deal_longest_first(rows, lengths, counts[place]) if row]


def _deal_longest_first(rows: Sequence[int], lengths: np.ndarray, count: int) -> list[list[int]]:
    """Add each sequence, longest first, to the shortest of `count` rows so far."""
    dealt: list[list[int]] = [[] for _unused in range(count)]
    loads = [(0, place) for place in range(count)]
    for row in sorted(rows, key=lambda row: (-int(lengths[row]), row)):
        load, place = loads[0]
        dealt[place].append(row)
        heapq.heapreplace(loads, (load + int(lengths[row]), place))
    return dealt
