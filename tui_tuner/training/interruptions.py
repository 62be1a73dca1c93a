"""Exceptions that leave the training loop before its last step and are not errors."""

from __future__ import annotations


class StopHere(Exception):
    """Raised when a stop interrupts the evaluation that a resumed run owes before its first step."""


class RollBack(Exception):
    """Raised between two steps to go back to a checkpoint, because weights have become NaN or infinite."""

    def __init__(self, step: int, message: str) -> None:
        self.step, self.message = step, message
        super().__init__(message)
