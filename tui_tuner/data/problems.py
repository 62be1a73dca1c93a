"""Why one row cannot be used; caught where rows are counted, so it ends in the ledger."""

from __future__ import annotations

from tui_tuner.locales import _


class RowProblem(Exception):
    """A row that has to be dropped.

    Args:
        reason: The ledger's line; the same words for every row with the same problem, in English (`N_`).
        detail: What is particular to this row.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(reason, detail)

    def __str__(self) -> str:
        """For people: the reason in their language, and the detail."""
        return f"{_(self.reason)}: {self.detail}" if self.detail else _(self.reason)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way back from a worker process."""
        return (RowProblem, (self.reason, self.detail))
