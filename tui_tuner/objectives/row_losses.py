"""Collect the losses of single held-out rows from those of their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui_tuner.compute.forward import Rows
from tui_tuner.compute.rows.label_weights import list_label_weights
from tui_tuner.objectives.objective import RowLoss

if TYPE_CHECKING:
    from torch import Tensor

# Rows whose losses are kept: enough for confidence intervals, and small in a journal
MOST_ROWS = 256


@dataclass(frozen=True)
class RowSums:
    """Examples of a forward pass, and the sums of their losses, [examples] float64 on the device."""

    rows: Sequence[int]
    sums: Tensor


def sum_losses_by_row(losses: Tensor, rows: Sequence[int], data: Rows) -> RowSums | None:
    """Sum the losses of each example; return None if they cannot be assigned to examples.

    Args:
        losses: [K] of all labels, in the order of the examples and of their labels; or [examples].
        rows: Numbers of the examples, in the order in which they lie.
    """
    import torch

    labels = [int(data.trained_tokens[row]) for row in rows]
    if losses.dim() != 1:
        return None
    if len(losses) == sum(labels):
        owner = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(labels)).to(losses.device)
        sums = torch.zeros(len(rows), dtype=torch.float64, device=losses.device)
        return RowSums(rows, sums.index_add_(0, owner, losses.double()))
    if len(losses) == len(rows):
        # A loss per example is a mean already; `read_losses` divides every sum by the labels.
        divisors = torch.tensor(_list_divisors(data, rows), device=losses.device)
        return RowSums(rows, losses.double() * divisors)
    return None


class RowLossCollector:
    """Collects row losses over the forward passes of an evaluation."""

    def __init__(self, data: Rows) -> None:
        self._data = data
        self._parts: list[RowSums] = []

    def add_part(self, part: RowSums) -> None:
        self._parts.append(part)

    def read_losses(self) -> list[RowLoss]:
        """Return the losses of up to `MOST_ROWS` rows with labels, evenly spaced by index."""
        import torch

        if not self._parts:
            return []
        rows = [row for part in self._parts for row in part.rows]
        # One transfer per evaluation: reading after each pass would make the device wait.
        sums = torch.cat([part.sums for part in self._parts]).tolist()
        by_row = dict(zip(rows, sums, strict=True))
        known = [row for row in range(len(self._data)) if row in by_row]
        count = min(MOST_ROWS, len(known))
        chosen = [known[place * len(known) // count] for place in range(count)]
        labels = _list_divisors(self._data, chosen)
        means = [float(f"{by_row[row] / many:.6g}") for row, many in zip(chosen, labels, strict=True)]
        return [RowLoss(loss, many) for loss, many in zip(means, labels, strict=True)]


def _list_divisors(data: Rows, rows: Sequence[int]) -> list[float]:
    """Return what the summed losses of examples are divided by; 1 for examples without labels."""
    return [weight or 1 for weight in list_label_weights(data, rows).tolist()]


def compute_perplexity(loss: float) -> float:
    """Return the exponential of a loss per token."""
    # The loss of a run that diverged may be larger than a float's exponent allows.
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
