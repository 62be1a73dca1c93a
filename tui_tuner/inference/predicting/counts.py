"""Counts of the rows that a job has predicted so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_REASONS = 50


@dataclass
class Counts:
    """Counts of the rows written.

    Args:
        unused: Rows without a prediction; `problems` counts them by reason.
        unlabelled: Rows whose answer has no valid label.
    """

    rows: int = 0
    unused: int = 0
    unlabelled: int = 0
    problems: dict[str, int] = field(default_factory=dict)

    def count_prediction(self, value: Any, problem: str) -> None:
        """Count a row; `problem` is the reason if it has no prediction."""
        self.rows += 1
        unlabelled = isinstance(value, Mapping) and "label" in value and value["label"] is None
        self.unused += value is None
        self.unlabelled += unlabelled
        if problem and (value is None or unlabelled):
            # What follows the colon is the answer itself, different for each row
            reason = problem.partition(":")[0].strip()
            if reason in self.problems or len(self.problems) < MOST_REASONS:
                self.problems[reason] = self.problems.get(reason, 0) + 1

    def list_counts(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)
