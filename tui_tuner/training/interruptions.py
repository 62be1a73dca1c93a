"""What leaves the training loop before its last step, other than an error or a stop at a step boundary."""

from __future__ import annotations


class StopHere(Exception):
    """Raised where a stop interrupts what is owed before the first step of a resumed run."""


class RollBack(Exception):
    """Raised between two steps to go back to a checkpoint; the weights are not numbers any more."""

    def __init__(self, step: int, message: str) -> None:
        self.step, self.message = step, message
        super().__init__(message)
