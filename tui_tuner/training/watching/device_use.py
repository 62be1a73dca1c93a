"""Measure the share of time that a device computes, from two events a step and the driver's figures.

A device works through a queue: the host launches kernels without waiting. An event in that queue has a time
when the host recorded it and a time when the device reached it. With both on one clock, this is certain:

- from the end of a step to the beginning of the next, the device has nothing to do: it is idle. Evaluations,
  checkpoints and pauses fall there too; they are not part of any step and are left out;
- after the host's last launch, until the device reaches the event behind it, there is work in the queue: the
  device is busy.

In between, the device may have waited for each kernel or for none, which two events cannot show. NVML can:
its utilisation is the share of time in which a kernel ran. It counts all processes and knows no steps, so it
is used only if the run is alone on its device, and limited to the range that is certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SURE = 0.1  # width of the certain range up to which the driver's figure is not needed


@dataclass(frozen=True)
class Stamps:
    """Moments of one optimizer step, all in seconds on the host's clock.

    Args:
        ready: The host finished the work between two steps, and asks for rows.
        begun: The host has the rows, and starts to launch.
        launched: The host has launched the step's last kernel.
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
class DeviceUse:
    """How the device spent its time over some steps, in seconds.

    Args:
        steps: Number of steps.
        seconds: From the end of the step before to the end of the last, without evaluations and pauses.
        idle: Seconds between steps in which it was certainly idle.
        data: The part of `idle` in which the host waited for rows.
        computing: Seconds in which it was certainly busy.
        busy: Share of the time in which it computed; None if that is not known.
    """

    steps: int = 0
    seconds: float = 0.0
    idle: float = 0.0
    data: float = 0.0
    computing: float = 0.0
    busy: float | None = None

    def join_uses(self, other: DeviceUse) -> DeviceUse:
        """Return the sum of both; its share of busy time is None if one share is not known."""
        seconds = self.seconds + other.seconds
        # A use without seconds is the start of a sum, and its unknown share must not spread.
        if self.seconds <= 0 or other.seconds <= 0:
            known = self if self.seconds > 0 else other
            busy = known.busy
        elif self.busy is None or other.busy is None:
            busy = None
        else:
            busy = (self.busy * self.seconds + other.busy * other.seconds) / seconds
        return DeviceUse(
            self.steps + other.steps,
            seconds,
            self.idle + other.idle,
            self.data + other.data,
            self.computing + other.computing,
            busy,
        )


def measure_device_times(steps: Sequence[Stamps], before: float | None) -> list[float]:
    """Return the seconds of each step on the device, from the end of the step before it.

    Args:
        before: When the device finished the step before the first; None if there was none.
    """
    found = []
    for step in steps:
        found.append(max(0.0, step.ended - _find_start(step, before)))
        before = step.ended
    return found


def measure_use(steps: Sequence[Stamps], before: float | None, running: float | None) -> DeviceUse:
    """Measure how the device spent its time over these steps.

    Args:
        before: As for `measure_device_times`.
        running: The driver's share of time with a kernel running over them; None if it is not known.
    """
    seconds = idle = data = computing = 0.0
    for step in steps:
        start = _find_start(step, before)
        took = max(0.0, step.ended - start)
        waited = min(took, max(0.0, step.began - start))
        seconds += took
        idle += waited
        data += min(waited, max(0.0, step.begun - max(step.ready, start)))
        computing += min(took - waited, max(0.0, step.ended - max(step.launched, step.began)))
        before = step.ended
    if seconds <= 0:
        return DeviceUse(len(steps))
    least, most = computing / seconds, 1 - idle / seconds
    busy: float | None = None
    if running is not None:
        busy = min(max(running, least), most)
    elif most - least <= SURE:
        busy = (least + most) / 2
    return DeviceUse(len(steps), seconds, idle, data, computing, busy)


def _find_start(step: Stamps, before: float | None) -> float:
    """Return the moment from which the time of a step counts."""
    return step.ready if step.apart or before is None else before
