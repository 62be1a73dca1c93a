"""How long rows are on a GPU: their lengths come from a small set. Pure functions; imports no torch.

Whatever is kept by shape there (cached memory, tuned kernels, compiled regions) meets few shapes then. What a
row lacks is filled up with tokens nobody is trained on (`rows.filler`), which costs their share of a step.
Most sizes lie where the steps of the run do: for chats of log-normal length (sigma 0.8, mean 280 tokens) 4 %
of what is computed is filler in steps of 16 of them, and 2 to 3 % in steps of 64; by fixed ratios it is 10 %.
How many positions have a label is left as it is: only the head depends on it, outside of all layers, in
chunks of one size but for the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil

from tui_tuner.models.device import Device

MOST_SIZES = 16
USUAL_SIZES = 13  # of them, for steps as they usually are
GRAIN, SMALL_GRAIN = 128, 64  # tokens; tiles of a matrix product, and what is left of them in small rows
SMALL = 2048  # tokens of a small row
RATIO = 1.25  # between neighbours, where nothing is known of the steps
NEAR = 1.1  # times a usual size: no other is needed there
PADDED_GRAIN = 16  # tokens: least step between lengths of padded rows
PADDED_STEPS = 8  # lengths from a power of two to the next


def fills_rows(device: Device) -> bool:
    """Whether rows are filled up on a device: on a GPU, where shapes cost, and on no processor."""
    return device.kind == "cuda"


def row_sizes(most: int, usual: Sequence[int] = (), count: int = MOST_SIZES) -> tuple[int, ...]:
    """The lengths that flat rows may have, in tokens, shortest first; the last one is `most`.

    Most of them lie where they waste least on the usual rows, the others on the way to `most` and below, for
    the last step of an epoch. They depend on the arguments alone, so a resumed run has the same ones.

    Args:
        most: Tokens that a row may have, as memory was planned for them; at least 1.
        usual: Tokens of some usual rows; empty where nothing is known.
        count: So many sizes at most; at least 4.
    """
    known = Counter(min(tokens, most) for tokens in usual if tokens > 0)
    if not known:
        return tuple(sorted(_descending(most, 1, count)))
    chosen = set(_best(known, most, min(USUAL_SIZES, count - 3)))
    chosen |= set(_descending(most, max(chosen), count - len(chosen) - 1))
    smallest = min(chosen)
    chosen |= {_rounded(smallest // 2, most)}
    return tuple(sorted(chosen))


def size_for(tokens: int, sizes: Sequence[int]) -> int:
    """The shortest of these sizes that holds a row; its own length where none does."""
    return min((size for size in sizes if size >= tokens), default=tokens)


def pieces_of(tokens: int, most: int) -> int:
    """Tokens of each piece of a step that is cut into as few equal ones as hold `most` tokens at most."""
    return ceil(tokens / max(1, ceil(tokens / most)))


def next_size(tokens: int) -> int:
    """A length for a row that no set is known for: the next multiple with room for a token of filler."""
    return _up(tokens + 1, SMALL_GRAIN if tokens < SMALL else GRAIN)


def padded_length(longest: int, limit: int) -> int:
    """The length that padded rows get: at most an eighth above the longest of them, and 16 tokens.

    Args:
        limit: Tokens that no row exceeds (`data.max_length`): a model may have no positions beyond.
    """
    step = max(PADDED_GRAIN, (1 << max(0, longest.bit_length() - 1)) // PADDED_STEPS)
    return max(longest, min(_up(longest, step), limit))


def waste(rows: Iterable[int], sizes: Sequence[int]) -> float:
    """Share of all tokens computed that is filler, over rows of so many tokens."""
    tokens = computed = 0
    for row in rows:
        tokens, computed = tokens + row, computed + size_for(row, sizes)
    return 1 - tokens / max(1, computed)


def _up(tokens: int, grain: int) -> int:
    return -(-tokens // grain) * grain


def _rounded(tokens: int, most: int) -> int:
    """The next multiple that matrix products like, but no more than `most`."""
    return min(most, _up(max(1, tokens), SMALL_GRAIN if tokens < SMALL else GRAIN))


def _descending(most: int, above: int, count: int) -> list[int]:
    """`most`, and shorter sizes in equal ratios as long as they are longer than `above`, `count` in all."""
    found = [most]
    while len(found) < count:
        size = _rounded(int(found[-1] / RATIO), most)
        if size >= found[-1]:
            size = (found[-1] - 1) // SMALL_GRAIN * SMALL_GRAIN
        if size <= NEAR * above:
            break
        found.append(size)
    return found


def _best(known: Counter[int], most: int, count: int) -> list[int]:
    """The `count` sizes with the least filler over known rows: exact, by the best last size but one."""
    ends: dict[int, tuple[int, int]] = {}  # size -> rows that are rounded up to it, and their tokens
    for tokens, rows in known.items():
        size = _rounded(tokens, most)
        before = ends.get(size, (0, 0))
        ends[size] = before[0] + rows, before[1] + rows * tokens
    sizes = sorted(ends)
    rows_up_to, tokens_up_to = [0], [0]
    for size in sizes:
        rows_up_to.append(rows_up_to[-1] + ends[size][0])
        tokens_up_to.append(tokens_up_to[-1] + ends[size][1])

    def cost(first: int, end: int) -> int:
        rows = rows_up_to[end] - rows_up_to[first]
        return rows * sizes[end - 1] - (tokens_up_to[end] - tokens_up_to[first])

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
