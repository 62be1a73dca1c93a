"""What planning knows of the data: counts, no text."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any

KEPT = 1024  # longest rows whose lengths are kept


@dataclass(frozen=True)
class DataFacts:
    """What the prepared data looks like. Lengths in tokens; None where nobody has counted.

    `heaviest` has the lengths of the longest rows, falling, and `most_trained` the trained tokens of the rows
    with most of them; both only where every row was tokenised as training will. `outputs` are the classes
    that a head tells apart, 0 where nobody counted them; with `regression` it gives that many numbers.
    Where rows are read in windows, `rows` are windows: what a run trains on.
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

    @property
    def mean(self) -> float | None:
        """Mean tokens a row."""
        return self.tokens / self.rows if self.tokens and self.rows else None

    def most_tokens(self, rows: int) -> int | None:
        """Tokens that no batch of so many rows exceeds; None where rows were not tokenised."""
        return _at_most(self.heaviest, rows, self.rows)

    def most_supervised(self, rows: int) -> int | None:
        """Trained tokens that no batch of so many rows exceeds; None where rows were not tokenised."""
        return _at_most(self.most_trained, rows, self.rows)


def _at_most(falling: tuple[int, ...], rows: int, there: int) -> int | None:
    """Sum of that many of the largest; beyond those kept, each counts as the smallest kept."""
    if not falling:
        return None
    rows = min(rows, there)
    return sum(falling[:rows]) + max(0, rows - len(falling)) * falling[-1]


def counted_facts(train: Any, validation: Any = None) -> DataFacts:
    """Facts of tokenised rows: objects with `lengths` and `trained_tokens`, arrays of tokens by row."""
    lengths, supervised = train.lengths.tolist(), train.trained_tokens.tolist()
    return DataFacts(
        rows=len(lengths),
        tokens=sum(lengths),
        supervised=sum(supervised),
        longest=max(lengths, default=0),
        validation_rows=len(validation) if validation is not None else 0,
        heaviest=tuple(heapq.nlargest(KEPT, lengths)),
        most_trained=tuple(heapq.nlargest(KEPT, supervised)),
    )


def steps_of(rows: int, batch_size: int, epochs: float, max_steps: int | None = None) -> int:
    """Optimizer steps of a run over so many training rows; an epoch's last step has what is left."""
    return max_steps or max(1, math.ceil(epochs * math.ceil(rows / batch_size)))
