"""Define the exception for a row that cannot be used; it is caught where rows are counted for the ledger."""

from __future__ import annotations

from tui_tuner.locales import _


class RowProblem(Exception):
    """The problem of a row that must be dropped.

    Args:
        reason: The ledger's line, in English (`N_`); the same for every row with the same problem.
        detail: The part that differs from row to row.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(reason, detail)

    def __str__(self) -> str:
        """Return the reason in the user's language, with the detail."""
        return f"{_(self.reason)}: {self.detail}" if self.detail else _(self.reason)

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses have other constructors, which could not be called with these arguments when an exception
        # comes back from a worker process.
        return (RowProblem, (self.reason, self.detail))
