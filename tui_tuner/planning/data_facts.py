"""What planning knows of the data: counts, no text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataFacts:
    """What the prepared data looks like. Lengths in tokens; None where nobody has counted."""

    rows: int
    tokens: int | None = None
    supervised: int | None = None
    longest: int | None = None
    validation_rows: int = 0

    @property
    def mean(self) -> float | None:
        """Mean tokens a row."""
        return self.tokens / self.rows if self.tokens and self.rows else None
