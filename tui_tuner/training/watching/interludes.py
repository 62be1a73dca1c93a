"""What lies between steps, evaluations with their answers and checkpoints: how long, and how often it comes.

None of it is a part of the pace of steps. One long evaluation, asked for after a few steps, would otherwise
count for each of the steps to come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tui_tuner.training.watching.intervals import ahead


class Interludes:
    """Seconds of each kind, in this process.

    Args:
        every: Of each kind, the steps from one to the next; None where there is one at the end alone.
        waited: Gives the seconds of pauses so far, which are no part of it.
    """

    def __init__(self, every: Mapping[str, int | None], waited: Callable[[], float] = lambda: 0.0) -> None:
        self._every, self._waited = every, waited
        self._seconds = dict.fromkeys(every, 0.0)
        self._times = dict.fromkeys(every, 0)

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """What is done within it is one of this kind."""
        began, waited = time.monotonic(), self._waited()
        try:
            yield
        finally:
            self.add(kind, time.monotonic() - began - (self._waited() - waited))

    def add(self, kind: str, seconds: float) -> None:
        """One that took so long."""
        self._seconds[kind] += max(0.0, seconds)
        self._times[kind] += 1

    @property
    def seconds(self) -> float:
        """All of them so far."""
        return sum(self._seconds.values())

    def ahead(self, step: int, total: int) -> float:
        """Seconds of those to come, as far as there were any: each as long as those of its kind."""
        return sum(
            self._seconds[kind] / times * ahead(step, total, self._every[kind])
            for kind, times in self._times.items()
            if times
        )
