"""Prefixes that several sequences of a micro-batch share, computed once.

A flat row is then [prefix][rest of a][rest of b]...: the rests keep their positions, and their queries see
the keys of the prefix and their own. In a causal model a token depends on nothing after it, so hidden states,
loss and gradients are those of the whole sequences; autograd sums the gradients that the rests send to the
prefix.

Only tokens without labels are shared (a system prompt, tools, examples): the prefix ends before the position
that predicts a sequence's first target, so each target has its own position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tui_tuner.compute.forward import MicroBatch, Rows, lay_flat_row, stack_columns
from tui_tuner.compute.rows.label_weights import pick_label_weights
from tui_tuner.compute.transfer import send_numbers, send_tensor
from tui_tuner.data.records import IGNORE, Example

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SHORTEST = 16  # tokens; for shorter ones the key copies cost more than is saved
LEAST_SAVING = 0.05  # share of a micro-batch's tokens


@dataclass(frozen=True)
class Segment:
    """A stretch of a flat row, and an earlier one that its queries also see (none if `prefix` is 0).

    Its tokens are those of `row` from `offset` on.
    """

    start: int
    length: int
    prefix_start: int = 0
    prefix: int = 0
    row: int = 0
    offset: int = 0


@dataclass
class Layout:
    """The segments of a flat row; masks and bounds are made once and used by all layers.

    Args:
        spans: The spans of attention (`attention.spans`) by device, filled by the first layer.
    """

    segments: list[Segment]
    spans: dict[Any, Any] = field(default_factory=dict, repr=False)
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    def make_mask(self, segment: Segment, window: int | None, like: Tensor) -> Tensor:
        """Return [length, prefix + length]: 0 for keys that a query sees, -inf for others."""
        import torch

        name = (segment.length, segment.prefix, window, like.dtype, like.device)
        if name not in self._made:
            queries = torch.arange(segment.prefix, segment.prefix + segment.length, device=like.device)
            keys = torch.arange(segment.prefix + segment.length, device=like.device)
            distance = queries[:, None] - keys[None, :]
            hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            self._made[name] = mask.masked_fill_(hidden, float("-inf"))
        return self._made[name]

    def find_bounds(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, int, int]:
        """Return the data of varlen kernels: places of keys, bounds of queries and keys, longest of each."""
        import torch

        name = ("bounds", device)
        if name not in self._made:
            wanted = [
                np.concatenate(
                    [
                        np.arange(one.prefix_start, one.prefix_start + one.prefix),
                        np.arange(one.start, one.start + one.length),
                    ]
                )
                for one in self.segments
            ]
            queries = [one.length for one in self.segments]
            keys = [len(one) for one in wanted]
            self._made[name] = (
                send_tensor(torch.from_numpy(np.concatenate(wanted)), device),
                send_numbers([0, *accumulate(queries)], device, torch.int32),
                send_numbers([0, *accumulate(keys)], device, torch.int32),
                max(queries),
                max(keys),
            )
        return self._made[name]


@dataclass(frozen=True)
class PrefixGroup:
    """Rows that share their first `prefix` tokens; a row that shares nothing forms its own group."""

    rows: list[int]
    prefix: int


def group_by_prefix(data: Rows, rows: Sequence[int]) -> list[PrefixGroup]:
    """Split rows into groups so that as many tokens as possible are computed once."""
    if not rows:  # one of several ranks can have no rows in a step
        return []
    # Sorted by their tokens, rows with a common prefix are neighbours, so comparing neighbours is enough.
    heads = {row: _find_shareable(data[row]) for row in rows}
    ordered = sorted(rows, key=lambda row: (heads[row].tolist(), row))
    common = [_count_common(heads[one], heads[other]) for one, other in pairwise(ordered)]
    found = _find_best_groups(common, 0, len(ordered))[1]
    return [PrefixGroup(ordered[first:end], prefix) for first, end, prefix in found]


def _find_shareable(example: Example) -> np.ndarray:
    """Return the tokens before the first position with a label, never including the last token."""
    targets = np.flatnonzero(example.labels[:-1] != IGNORE)
    return example.ids[: int(targets[0])] if len(targets) else example.ids[:-1]


def _count_common(one: np.ndarray, other: np.ndarray) -> int:
    """Count the leading tokens that two rows have in common."""
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length


def _find_best_groups(common: list[int], first: int, end: int) -> tuple[int, list[tuple[int, int, int]]]:
    """Return the saved tokens and the groups (first, end, prefix) for the sorted rows first..end.

    A stretch either shares what all its rows have in common, or is split where neighbours have least in
    common, whichever saves more.
    """
    if end - first == 1:
        return 0, [(first, end, 0)]
    least = min(common[first : end - 1])
    together = least * (end - first - 1) if least >= SHORTEST else 0
    # Splitting at all places where neighbours have least in common keeps the recursion flat.
    cuts = [place + 1 for place in range(first, end - 1) if common[place] == least]
    saved, parts = 0, []
    for start, stop in zip([first, *cuts], [*cuts, end], strict=True):
        more, inner = _find_best_groups(common, start, stop)
        saved += more
        parts += inner
    if together and together >= saved:
        return together, [(first, end, least)]
    return saved, parts


def lay_shared(data: Rows, rows: Sequence[int]) -> MicroBatch:
    """Lay out a flat row with common prefixes once; the plain flat row if that saves too little."""
    found = group_by_prefix(data, rows)
    saved = sum(group.prefix * (len(group.rows) - 1) for group in found)
    if saved < LEAST_SAVING * sum(int(data.lengths[row]) for row in rows):
        return lay_flat_row(data, rows)
    return lay_prefix_groups(data, found)


def lay_prefix_groups(data: Rows, found: list[PrefixGroup]) -> MicroBatch:
    """Lay out a flat row of groups, the prefix of each once."""
    import torch

    ids, labels, positions = [], [], []
    segments, order, examples = [], [], []
    place = 0
    for group in found:
        prefix_start = place
        if group.prefix:
            ids.append(data[group.rows[0]].ids[: group.prefix])
            labels.append(np.full(group.prefix, IGNORE, dtype=np.int32))
            positions.append(np.arange(group.prefix))
            segments.append(Segment(place, group.prefix, row=group.rows[0]))
            place += group.prefix
        for row in group.rows:
            example = data[row]
            rest = len(example) - group.prefix
            ids.append(example.ids[group.prefix :])
            labels.append(example.labels[group.prefix :])
            positions.append(np.arange(group.prefix, len(example)))
            segments.append(Segment(place, rest, prefix_start, group.prefix, row, group.prefix))
            order.append(row)
            examples.append(example)
            place += rest
    # A shared prefix has no labels, so the labels of the whole examples are those of this row.
    labelled = np.concatenate([example.labels != IGNORE for example in examples])
    together = np.concatenate(labels).astype(np.int64)
    kept = together != IGNORE
    return MicroBatch(
        order,
        torch.from_numpy(np.concatenate(ids).astype(np.int64))[None],
        torch.from_numpy(kept)[None],
        torch.from_numpy(together[kept]),
        [len(example) for example in examples],
        position_ids=torch.from_numpy(np.concatenate(positions))[None],
        layout=Layout(segments),
        places=torch.from_numpy(np.flatnonzero(kept)),
        columns=stack_columns(examples),
        weights=pick_label_weights(examples, labelled),
    )


def measure_prefix_saving(data: Rows, batches: Iterable[Sequence[int]]) -> float:
    """Return the share of tokens that sharing prefixes would save in some optimizer steps."""
    saved = tokens = 0
    for batch in batches:
        saved += sum(group.prefix * (len(group.rows) - 1) for group in group_by_prefix(data, batch))
        tokens += sum(int(data.lengths[row]) for row in batch)
    return saved / max(1, tokens)
