"""Where the time of a run went: seconds of each phase, from the moments of its events alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tui_tuner.runs.events import Event, Finished, Phase

AWAY = "away"  # nobody ran: between the end of one process and the beginning of the next
SILENCE = 60.0  # seconds without an event, after which nobody ran; heartbeats come every 5


@dataclass(frozen=True)
class Spent:
    """Seconds by phase up to the event at `last` [Unix seconds], when `phase` was on."""

    last: float = 0.0
    phase: str = AWAY
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def whole(self) -> float:
        """Seconds in which a process had the run."""
        return sum(seconds for phase, seconds in self.seconds.items() if phase != AWAY)


class Clock:
    """Adds up what passes from one event to the next."""

    def __init__(self, spent: Spent) -> None:
        self._last, self._phase, self._seconds = spent.last, spent.phase, dict(spent.seconds)

    def take(self, event: Event) -> None:
        """The next event of the journal."""
        passed = event.time - self._last
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

    def now(self) -> Spent:
        return Spent(self._last, self._phase, self._seconds)
