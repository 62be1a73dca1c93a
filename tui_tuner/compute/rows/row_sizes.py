"""Lengths of rows on a GPU, from a small set. Pure functions; imports no torch.

Then everything that depends on shapes (cached memory, tuned kernels, compiled regions) sees few of them. Rows
are filled up with tokens without labels (`rows.filler`), which cost their share of a step. Most sizes are
close to the steps of the run: for chats of log-normal length (sigma 0.8, mean 280 tokens), 4 % of the
computed tokens are filler in steps of 16 chats, and 2 to 3 % in steps of 64; with fixed ratios it is 10 %.
The number of labelled positions stays as it is: only the head depends on it, outside of all layers, in chunks
of one size except the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil

from tui_tuner.models.device import Device

MOST_SIZES = 16
USUAL_SIZES = 13  # of them, for typical steps
GRAIN, SMALL_GRAIN = 128, 64  # tokens: the tile of a matrix product, and half of it for small rows
SMALL = 2048  # tokens; shorter rows are small
RATIO = 1.25  # between neighbouring sizes if nothing is known of the steps
NEAR = 1.1  # a size needs no other one up to this factor above it
PADDED_GRAIN = 16  # tokens: the smallest step between lengths of padded rows
PADDED_STEPS = 8  # lengths from one power of two to the next


def fills_rows(device: Device) -> bool:
    """Return whether rows are filled up on a device: only on a GPU, where new shapes are expensive."""
    return device.kind == "cuda"


def choose_row_sizes(most: int, usual: Sequence[int] = (), count: int = MOST_SIZES) -> tuple[int, ...]:
    """Choose the allowed lengths of flat rows, in tokens, shortest first; the last one is `most`.

    They depend on the arguments alone, so a resumed run has the same ones.

    Args:
        most: The most tokens of a row, for which memory was planned; at least 1.
        usual: Tokens of some typical rows; empty if nothing is known.
        count: The most sizes; at least 4.
    """
    known = Counter(min(tokens, most) for tokens in usual if tokens > 0)
    if not known:
        return tuple(sorted(_list_descending(most, 1, count)))
    # Most sizes waste least on typical rows. The others lie between them and `most`, for unusual steps, and
    # one below, for the last step of an epoch.
    chosen = set(_find_best_sizes(known, most, min(USUAL_SIZES, count - 3)))
    chosen |= set(_list_descending(most, max(chosen), count - len(chosen) - 1))
    smallest = min(chosen)
    chosen |= {_round_size(smallest // 2, most)}
    return tuple(sorted(chosen))


def find_row_size(tokens: int, sizes: Sequence[int]) -> int:
    """Return the smallest size that holds a row; the row's own length if none does."""
    return min((size for size in sizes if size >= tokens), default=tokens)


def find_step_piece_size(tokens: int, most: int) -> int:
    """Return the size of the pieces if a step is cut into as few equal ones as `most` tokens allow."""
    return ceil(tokens / max(1, ceil(tokens / most)))


def round_row_size(tokens: int) -> int:
    """Return the next round length above a row, with room for at least one token of filler."""
    return _round_up(tokens + 1, SMALL_GRAIN if tokens < SMALL else GRAIN)


def round_padded_length(longest: int, limit: int) -> int:
    """Return the length of padded rows: above the longest by less than an eighth or 16 tokens.

    Args:
        limit: The most tokens of a row (`data.max_length`): a model may have no positions beyond.
    """
    step = max(PADDED_GRAIN, (1 << max(0, longest.bit_length() - 1)) // PADDED_STEPS)
    return max(longest, min(_round_up(longest, step), limit))


def measure_filler_waste(rows: Iterable[int], sizes: Sequence[int]) -> float:
    """Return the share of filler in all computed tokens, for rows of these lengths."""
    tokens = computed = 0
    for row in rows:
        tokens, computed = tokens + row, computed + find_row_size(row, sizes)
    return 1 - tokens / max(1, computed)


def _round_up(tokens: int, grain: int) -> int:
    return -(-tokens // grain) * grain


def _round_size(tokens: int, most: int) -> int:
    """Round up to a length that is fast for matrix products, but at most to `most`."""
    return min(most, _round_up(max(1, tokens), SMALL_GRAIN if tokens < SMALL else GRAIN))


def _list_descending(most: int, above: int, count: int) -> list[int]:
    """List `most` and smaller sizes in equal ratios, down to `above`, at most `count` in total."""
    found = [most]
    while len(found) < count:
        size = _round_size(int(found[-1] / RATIO), most)
        # Rounding up may undo a small step: take the next grain below instead.
        if size >= found[-1]:
            size = (found[-1] - 1) // SMALL_GRAIN * SMALL_GRAIN
        if size <= NEAR * above:
            break
        found.append(size)
    return found


def _find_best_sizes(known: Counter[int], most: int, count: int) -> list[int]:
    """Find the `count` sizes with the least filler over known rows, by dynamic programming."""
    ends: dict[int, tuple[int, int]] = {}  # size -> rows that are rounded up to it, and their tokens
    for tokens, rows in known.items():
        size = _round_size(tokens, most)
        before = ends.get(size, (0, 0))
        ends[size] = before[0] + rows, before[1] + rows * tokens
    sizes = sorted(ends)
    # Running sums give the filler of any range of sizes that is rounded up to its last one.
    rows_up_to, tokens_up_to = [0], [0]
    for size in sizes:
        rows_up_to.append(rows_up_to[-1] + ends[size][0])
        tokens_up_to.append(tokens_up_to[-1] + ends[size][1])

    def cost(first: int, end: int) -> int:
        rows = rows_up_to[end] - rows_up_to[first]
        return rows * sizes[end - 1] - (tokens_up_to[end] - tokens_up_to[first])

    # best[end]: the least filler for the first `end` sizes, and the sizes that give it, with one more size in
    # each turn.
    best: list[tuple[int, tuple[int, ...]]] = [(0, ())] + [
        (cost(0, end), (sizes[end - 1],)) for end in range(1, len(sizes) + 1)
    ]
    for _unused in range(count - 1):
        best = [best[0]] + [
            min(
                (best[first][0] + cost(first, end), (*best[first][1], sizes[end - 1])) for first in range(end)
            )
            for end in range(1, len(sizes) + 1)
        ]
    return list(best[-1][1])
