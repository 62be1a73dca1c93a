"""What an objective measures on held-out rows: sums, values of single rows, tables and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ExampleValues:
    """Values of a micro-batch that are kept for each example instead of being summed.

    Args:
        values: One tensor for each example, in the order of the micro-batch; of any shapes.
    """

    values: Sequence[Tensor]


@dataclass(frozen=True)
class SingleLosses:
    """The single losses of a forward pass on held-out rows, so that each row has its own figure.

    Args:
        losses: [K], one for each label in reading order, times its weight, or [examples]; on the device.
    """

    losses: Tensor


@dataclass(frozen=True)
class RowLoss:
    """The mean loss over the labels of a held-out row, and their number, or the sum of their weights."""

    loss: float
    labels: float


@dataclass(frozen=True)
class ResultTable:
    """A table of an evaluation: the content of the event `EvaluationTable`."""

    name: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class EvaluationResult:
    """The result of an evaluation.

    Args:
        tables: Tables for a screen, in addition to the metrics.
        files: Texts to write, by file name in the run's folder, such as predictions.
        rows: The losses of held-out rows, the same ones in the same order each time; empty if the objective
            has no loss per row.
    """

    metrics: dict[str, float]
    tables: Sequence[ResultTable] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[RowLoss] = ()
