"""Counts of rows and tokens that planning uses; none of the data's text."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.schema import RunConfig

SOURCE = "source"  # the column with the tokens of a row that an encoder reads
KEPT = 1024  # longest rows whose lengths are kept


@dataclass(frozen=True)
class DataFacts:
    """Counts of the prepared data. Lengths in tokens; None if not counted.

    `heaviest` has the lengths of the longest rows, falling, and `most_trained` the trained tokens of the rows
    with most of them; both only if every row was tokenised as in training. `outputs` is the number of classes
    of a head, 0 if not counted; with `regression`, the head gives that many numbers. If rows are read in
    windows, `rows` counts windows, which is what a run trains on. Of rows with a source and a target,
    `tokens` counts both, `supervised` those of the targets; `longest_source` has the longest source.
    """

    rows: int
    tokens: int | None = None
    supervised: int | None = None
    longest: int | None = None
    validation_rows: int = 0
    heaviest: tuple[int, ...] = ()
    most_trained: tuple[int, ...] = ()
    outputs: int = 0
    regression: bool = False
    longest_source: int | None = None

    @property
    def mean_tokens(self) -> float | None:
        """Return the mean number of tokens per row."""
        return self.tokens / self.rows if self.tokens and self.rows else None

    @property
    def mean_target(self) -> float | None:
        """Return the mean number of trained tokens per row; if it has a source, those of its target."""
        return self.supervised / self.rows if self.supervised and self.rows else None

    def most_tokens(self, rows: int) -> int | None:
        """Return the most tokens of so many rows; None if rows were not tokenised."""
        return _bound_sum(self.heaviest, rows, self.rows)

    def most_supervised(self, rows: int) -> int | None:
        """Return the most trained tokens of so many rows; None if rows were not tokenised."""
        return _bound_sum(self.most_trained, rows, self.rows)


def _bound_sum(falling: tuple[int, ...], rows: int, there: int) -> int | None:
    """Bound the sum of so many rows from above; beyond those kept, each counts as the smallest kept."""
    if not falling:
        return None
    # A batch larger than the data holds each row once
    rows = min(rows, there)
    return sum(falling[:rows]) + max(0, rows - len(falling)) * falling[-1]


def make_facts(train: Any, validation: Any = None, share: float = 1.0) -> DataFacts:
    """Make facts of tokenised rows: objects with `lengths` and `trained_tokens`, arrays of tokens by row.

    Args:
        share: Of the positions with a label, those that a step trains: the others are hidden in other epochs.
    """
    lengths = train.lengths.tolist()
    supervised = [max(1, math.ceil(share * count)) if count else 0 for count in train.trained_tokens.tolist()]
    sources = getattr(train, "columns", {}).get(SOURCE)
    return DataFacts(
        rows=len(lengths),
        tokens=sum(lengths),
        supervised=sum(supervised),
        longest=max(lengths, default=0),
        validation_rows=len(validation) if validation is not None else 0,
        # Sums of the longest rows bound every batch, whatever the order of the epoch
        heaviest=tuple(heapq.nlargest(KEPT, lengths)),
        most_trained=tuple(heapq.nlargest(KEPT, supervised)),
        longest_source=None if sources is None else int(max(sources, default=0)),
    )


def count_optimizer_steps(rows: int, batch_size: int, epochs: float, max_steps: int | None = None) -> int:
    """Count the optimizer steps over so many training rows; an epoch's last step may have fewer rows."""
    return max_steps or max(1, math.ceil(epochs * math.ceil(rows / batch_size)))


def measure_mean_sides(config: RunConfig, data: DataFacts | None) -> tuple[float, float]:
    """Return the mean tokens of a row's source and of its target; their limits if they were not counted."""
    source, target = float(config.data.max_source), float(config.data.max_target)
    if data is None or not data.mean_tokens or not data.mean_target:
        return source, target
    return min(source, max(1.0, data.mean_tokens - data.mean_target)), min(target, data.mean_target)
