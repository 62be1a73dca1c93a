"""How examples lie in a forward pass: side by side without padding, or one below the other with it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from tui_tuner.data.example import IGNORE, Example


class Rows(Protocol):
    """Tokenised examples: `rows[i]` is one. `lengths` and `trained_tokens` count tokens, and positions with a
    label, of each."""

    lengths: np.ndarray
    trained_tokens: np.ndarray

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Example: ...


@dataclass(frozen=True)
class MicroSize:
    """How much goes through the model at once: sequences, and the tokens they may have together."""

    sequences: int
    tokens: int

    def halved(self) -> MicroSize:
        return MicroSize(max(1, self.sequences // 2), max(1, self.tokens // 2))


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
class MicroBatch:
    """One forward pass.

    Args:
        rows: Numbers of its examples.
        input_ids: [B, T] int64; B is 1 for a flat row without padding.
        keep: [B, T] bool: positions with a label.
        targets: [K] int64: the labels of those positions, in reading order.
        lengths: Tokens of each example.
        position_ids: [1, T], restarting at each example; None for padded rows.
        attention_mask: [B, T] of a padded row; None for flat ones.
        layout: How examples share their beginning (`shared_prefix.Layout`); None where each is complete.
        places: [K] int64: the positions of `keep` in a flat row; indexing by numbers needs no device sync,
            where a mask has to be counted first. None for padded rows.
        columns: [examples] each: values that the task keeps for its examples.
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
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def trained_tokens(self) -> int:
        """Positions with a label; known without asking the device."""
        return int(self.targets.shape[0])

    @property
    def tokens(self) -> int:
        """Tokens of the examples, padding not counted."""
        return sum(self.lengths)

    def to(self, device: Any) -> MicroBatch:
        """A copy on a device."""
        # only from pinned memory does a copy not wait
        pinned = getattr(device, "type", str(device)).startswith("cuda")

        def move(tensor: Any) -> Any:
            if tensor is None:
                return None
            return (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=True)

        tensors = ("input_ids", "keep", "targets", "position_ids", "attention_mask", "places")
        moved = {name: move(getattr(self, name)) for name in tensors}
        return replace(self, **moved, columns={name: move(values) for name, values in self.columns.items()})


def lay_flat(data: Rows, rows: Sequence[int]) -> MicroBatch:
    """Examples side by side in one row, without padding; positions restart at each."""
    import torch

    parts = [data[row] for row in rows]
    ids = np.concatenate([part.ids for part in parts]).astype(np.int64)
    labels = np.concatenate([part.labels for part in parts]).astype(np.int64)
    positions = np.concatenate([np.arange(len(part)) for part in parts])
    keep = labels != IGNORE
    places = np.flatnonzero(keep)
    return MicroBatch(
        list(rows),
        torch.from_numpy(ids)[None],
        torch.from_numpy(keep)[None],
        torch.from_numpy(labels[places]),
        [len(part) for part in parts],
        position_ids=torch.from_numpy(positions)[None],
        places=torch.from_numpy(places),
        columns=stack_columns(parts),
    )


def lay_padded(data: Rows, rows: Sequence[int], pad: int) -> MicroBatch:
    """Examples one below the other, padded on the right to the longest."""
    import torch

    parts = [data[row] for row in rows]
    longest = max(len(part) for part in parts)
    ids = np.full((len(parts), longest), pad, dtype=np.int64)
    labels = np.full((len(parts), longest), IGNORE, dtype=np.int64)
    mask = np.zeros((len(parts), longest), dtype=np.int64)
    for line, part in enumerate(parts):
        ids[line, : len(part)] = part.ids
        labels[line, : len(part)] = part.labels
        mask[line, : len(part)] = 1
    keep = labels != IGNORE
    return MicroBatch(
        list(rows),
        torch.from_numpy(ids),
        torch.from_numpy(keep),
        torch.from_numpy(labels[keep]),
        [len(part) for part in parts],
        attention_mask=torch.from_numpy(mask),
        columns=stack_columns(parts),
    )


def stack_columns(examples: Sequence[Example]) -> dict[str, Any]:
    """The columns of some examples as tensors, [examples] each."""
    import torch

    names = examples[0].columns if examples else ()
    return {name: torch.tensor(np.array([one.columns[name] for one in examples])) for name in names}
