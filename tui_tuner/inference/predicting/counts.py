"""What became of the rows of a job, so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_REASONS = 50


@dataclass
class Counts:
    """Rows that are written.

    Args:
        unused: Those without a prediction; `problems` counts them by reason.
        unlabelled: Those whose answer has no valid label.
    """

    rows: int = 0
    unused: int = 0
    unlabelled: int = 0
    problems: dict[str, int] = field(default_factory=dict)

    def add(self, value: Any, problem: str) -> None:
        """Count a row by its prediction; a problem says why it has none."""
        self.rows += 1
        unlabelled = isinstance(value, Mapping) and "label" in value and value["label"] is None
        self.unused += value is None
        self.unlabelled += unlabelled
        if problem and (value is None or unlabelled):
            reason = problem.partition(":")[0].strip()
            if reason in self.problems or len(self.problems) < MOST_REASONS:
                self.problems[reason] = self.problems.get(reason, 0) + 1

    def plain(self) -> dict[str, Any]:
        """In plain values."""
        return asdict(self)
