"""What share of the time a device computes, told by two of its events a step and the driver's own word.

A device works through a queue: the host launches kernels and goes on. An event in that queue has a time when
the host recorded it and a time when the device reached it. With both on one clock, this is certain:

- from the end of a step to the beginning of the next, the device has nothing to do: it is idle. Evaluations,
  checkpoints and pauses lie there too; they are no part of any step, and are left out;
- after the host's last launch, until the device reaches the event behind it, there is work in the queue: it
  is busy.

In between, a device that finishes with the host's last launch may have waited for each kernel or for none,
which two events cannot tell. NVML can: its utilisation is the share of the time in which a kernel ran. It
counts all processes and knows no steps, so it is asked where the run is alone on its device, and held within
what is certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SURE = 0.1  # the driver's word is not needed where what is certain leaves no more room


@dataclass(frozen=True)
class Stamps:
    """Moments of one optimizer step, all in seconds on the host's clock.

    Args:
        ready: The host has done with what lies between two steps, and asks for rows.
        begun: It has them, and launches.
        launched: It has launched the step's last kernel.
        began: The device reached the beginning of the step.
        ended: The device reached its end.
        apart: An evaluation, a checkpoint or a pause came before `ready`: the time before it does not count.
    """

    ready: float
    begun: float
    launched: float
    began: float
    ended: float
    apart: bool = False


@dataclass(frozen=True)
class Use:
    """What the device did over some steps, in seconds.

    Args:
        steps: How many.
        seconds: From the end of the step before to the end of the last, without what lies apart.
        idle: Of these, certainly idle, between steps.
        data: Of the idle ones, while the host waited for rows.
        computing: Certainly busy.
        busy: Share of the time in which it computed; None where nothing tells.
    """

    steps: int = 0
    seconds: float = 0.0
    idle: float = 0.0
    data: float = 0.0
    computing: float = 0.0
    busy: float | None = None

    def joined(self, other: Use) -> Use:
        """Both together; what is not known of one is not known of both."""
        seconds = self.seconds + other.seconds
        if self.seconds <= 0 or other.seconds <= 0:
            known = self if self.seconds > 0 else other
            busy = known.busy
        elif self.busy is None or other.busy is None:
            busy = None
        else:
            busy = (self.busy * self.seconds + other.busy * other.seconds) / seconds
        return Use(
            self.steps + other.steps,
            seconds,
            self.idle + other.idle,
            self.data + other.data,
            self.computing + other.computing,
            busy,
        )


def times_of(steps: Sequence[Stamps], before: float | None) -> list[float]:
    """Seconds of each step on the device, from the end of the step before.

    Args:
        before: When the device had ended the step before the first; None where there was none.
    """
    found = []
    for step in steps:
        found.append(max(0.0, step.ended - _start(step, before)))
        before = step.ended
    return found


def use_of(steps: Sequence[Stamps], before: float | None, running: float | None) -> Use:
    """What the device did over these steps.

    Args:
        before: As for `times_of`.
        running: The driver's share of time with a kernel running, meanwhile; None where it does not tell.
    """
    seconds = idle = data = computing = 0.0
    for step in steps:
        start = _start(step, before)
        took = max(0.0, step.ended - start)
        waited = min(took, max(0.0, step.began - start))
        seconds += took
        idle += waited
        data += min(waited, max(0.0, step.begun - max(step.ready, start)))
        computing += min(took - waited, max(0.0, step.ended - max(step.launched, step.began)))
        before = step.ended
    if seconds <= 0:
        return Use(len(steps))
    least, most = computing / seconds, 1 - idle / seconds
    busy: float | None = None
    if running is not None:
        busy = min(max(running, least), most)
    elif most - least <= SURE:
        busy = (least + most) / 2
    return Use(len(steps), seconds, idle, data, computing, busy)


def _start(step: Stamps, before: float | None) -> float:
    """From when the time of a step counts."""
    return step.ready if step.apart or before is None else before
