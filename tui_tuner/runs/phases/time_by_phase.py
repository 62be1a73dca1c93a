"""Add up the time of a run by phase, from the times of its events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tui_tuner.runs.events import Event, Finished, Phase

AWAY = "away"  # no process: between the end of one and the start of the next
SILENCE = 60.0  # seconds without an event that mean no process ran; heartbeats come every 5


@dataclass(frozen=True)
class TimeByPhase:
    """Seconds by phase up to the event at `last` [Unix seconds], during `phase`."""

    last: float = 0.0
    phase: str = AWAY
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def total_seconds(self) -> float:
        """Return the seconds for which a process held the run."""
        return sum(seconds for phase, seconds in self.seconds.items() if phase != AWAY)


class PhaseClock:
    """Adds up the time between events."""

    def __init__(self, spent: TimeByPhase) -> None:
        self._last, self._phase, self._seconds = spent.last, spent.phase, dict(spent.seconds)

    def take_event(self, event: Event) -> None:
        """Take the next event of the journal."""
        passed = event.time - self._last
        # A clock that was set back between two events must not subtract time.
        if self._last and passed > 0:
            phase = self._phase if passed < SILENCE else AWAY
            self._seconds[phase] = self._seconds.get(phase, 0.0) + passed
        if event.time:
            self._last = event.time
        kind = type(event.body)
        if kind is Phase:
            self._phase = event.body.name  # type: ignore[attr-defined]
        elif kind is Finished:
            self._phase = AWAY

    def time_so_far(self) -> TimeByPhase:
        return TimeByPhase(self._last, self._phase, self._seconds)
