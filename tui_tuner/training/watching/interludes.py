"""Time the work between steps, that is evaluations with their answers and checkpoints, and predict the rest.

None of it is part of the pace of steps. Otherwise one long evaluation, requested after a few steps, would be
counted again for each of the steps to come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tui_tuner.training.watching.intervals import count_events_ahead


class Interludes:
    """Sums up the seconds of each kind of interlude in this process.

    Args:
        every: The steps from one interlude to the next, by kind; None if there is only one, at the end.
        waited: Returns the seconds of pauses so far, which do not count.
    """

    def __init__(self, every: Mapping[str, int | None], waited: Callable[[], float] = lambda: 0.0) -> None:
        self._every, self._waited = every, waited
        self._seconds = dict.fromkeys(every, 0.0)
        self._times = dict.fromkeys(every, 0)

    @contextmanager
    def time_interlude(self, kind: str) -> Iterator[None]:
        """Count the time inside the context as one interlude of this kind."""
        began, waited = time.monotonic(), self._waited()
        try:
            yield
        finally:
            self.add_interlude(kind, time.monotonic() - began - (self._waited() - waited))

    def add_interlude(self, kind: str, seconds: float) -> None:
        self._seconds[kind] += max(0.0, seconds)
        self._times[kind] += 1

    @property
    def total_seconds(self) -> float:
        return sum(self._seconds.values())

    def predict_ahead(self, step: int, total: int) -> float:
        """Predict the seconds of the interludes to come, each as long as the mean of its kind.

        Kinds that did not occur yet are left out.
        """
        return sum(
            self._seconds[kind] / times * count_events_ahead(step, total, self._every[kind])
            for kind, times in self._times.items()
            if times
        )
