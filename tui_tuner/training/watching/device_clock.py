"""Two events a step in the queue of a device, read together with the loss: nothing waits for them.

The device's clock and the host's are tied together anew at each reading: the queue is empty then, as the
loss was just read, so an event that is recorded is reached at once. Without a reading there is no tie, so the
steps before the first one have no times.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from tui_tuner.training.watching.busy import Stamps, Use, times_of, use_of
from tui_tuner.training.watching.nvml import find_handle, is_alone

EVERY = 0.2  # seconds between two questions to the driver
PERIOD = 1.0  # seconds that an answer of the driver may reach back
LOOK_AGAIN = 30.0  # seconds after which it is looked again whether others use the device


class DeviceEvent(Protocol):
    """A place in the queue of a device, as `torch.cuda.Event(enable_timing=True)` is one."""

    def record(self) -> Any: ...
    def elapsed_time(self, end_event: Any) -> float: ...


class Running(Protocol):
    """The driver's share of time with a kernel running."""

    def mean(self, since: float, until: float) -> float | None: ...
    def stop(self) -> None: ...


class DeviceClock:
    """Records the steps' events and reads what they tell.

    Where anything of it fails, `problem` says so, and nothing is measured any more.

    Args:
        event: Makes an event.
        running: What the driver says; None where it is not asked.
        clock: The host's, in seconds.
    """

    def __init__(
        self,
        event: Callable[[], DeviceEvent],
        running: Running | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._event, self._running, self._clock = event, running, clock
        self._free: list[DeviceEvent] = []
        self._steps: list[tuple[float, float, float, DeviceEvent, DeviceEvent, bool]] = []
        self._open: tuple[float, DeviceEvent] | None = None
        self._ready, self._apart = clock(), True
        self._tie: tuple[float, DeviceEvent] | None = None
        self._before: float | None = None  # when the device had ended the last step that was read
        self._since = self._ready  # from when steps follow each other with nothing apart between them
        self.problem = ""

    def ready(self, apart: bool) -> None:
        """The host has done with what lies between two steps; `apart`: there was more than reports."""
        self._ready, self._apart = self._clock(), apart

    def begin(self) -> None:
        """The rows of a step are there, and nothing of it is launched yet."""
        self._open = None
        event = self._recorded()
        if event is not None:
            self._open = (self._clock(), event)

    def end(self) -> None:
        """All of the step is launched. A step that did not begin here is not counted."""
        began, self._open = self._open, None
        launched = self._clock()
        event = None if began is None else self._recorded()
        if began is not None and event is not None:
            self._steps.append((self._ready, began[0], launched, began[1], event, self._apart))

    def read(self) -> tuple[list[float | None], Use | None]:
        """Seconds on the device of each step since the last reading, and what it did over them all.

        Call it just after numbers of the last step were read from the device. Empty before there is a tie,
        and after a failure.
        """
        steps, self._steps = self._steps, []
        tie = self._tie
        try:
            stamps = [self._stamps(tie, step) for step in steps] if tie is not None else []
            self._tie = self._new_tie(tie)
        except Exception as error:  # an event that was not reached, or a device that failed
            self._fail(error)
            return [], None
        self._free += [event for step in steps for event in (step[3], step[4])]
        if tie is None and self._tie is not None:
            self._before = self._since = self._tie[0]
        if not stamps:
            return [], None
        for index, step in enumerate(stamps):
            if step.apart or (index == 0 and self._before is None):
                self._since = step.ready
        found = times_of(stamps, self._before)
        running = None
        if self._running is not None:
            running = self._running.mean(self._since, stamps[-1].ended)
        use = use_of(stamps, self._before, running)
        self._before = stamps[-1].ended
        return [seconds if seconds > 0 else None for seconds in found], use

    def stop(self) -> None:
        """Ask the driver no more."""
        if self._running is not None:
            self._running.stop()

    def _recorded(self) -> DeviceEvent | None:
        if self.problem:
            return None
        try:
            event = self._free.pop() if self._free else self._event()
            event.record()
        except Exception as error:
            self._fail(error)
            return None
        return event

    def _new_tie(self, old: tuple[float, DeviceEvent] | None) -> tuple[float, DeviceEvent] | None:
        event = old[1] if old is not None else self._event()
        before = self._clock()
        event.record()
        return (before + self._clock()) / 2, event

    @staticmethod
    def _stamps(
        tie: tuple[float, DeviceEvent], step: tuple[float, float, float, DeviceEvent, DeviceEvent, bool]
    ) -> Stamps:
        ready, begun, launched, first, last, apart = step
        moment, event = tie
        began, ended = (moment + event.elapsed_time(one) / 1000 for one in (first, last))
        return Stamps(ready, begun, launched, began, ended, apart)

    def _fail(self, error: Exception) -> None:
        self.problem = str(error) or type(error).__name__
        self._steps, self._open, self._tie = [], None, None


class DriverWatch:
    """Asks NVML in a thread of its own, from the first question on, what share of the time kernels ran; never
    raises.

    Args:
        ask: Gives that share, or None where it is not known (others use the device too).
    """

    def __init__(self, ask: Callable[[], float | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._answers: deque[tuple[float, float | None]] = deque(maxlen=round(120 / EVERY))
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gpu use", daemon=True)

    def stop(self) -> None:
        """End the thread."""
        self._done.set()

    def mean(self, since: float, until: float) -> float | None:
        """The share between two moments of the host's clock, of which the first has to be long enough ago for
        the driver's answers to reach back no further; each answer counts once. None where it is not known."""
        if self._thread.ident is None and not self._done.is_set():
            self._thread.start()
        found = []
        while self._answers and self._answers[0][0] <= until:
            moment, share = self._answers.popleft()
            if moment >= since + PERIOD:
                found.append(share)
        known = [share for share in found if share is not None]
        return sum(known) / len(known) if known and len(known) == len(found) else None

    def _watch(self) -> None:
        while not self._done.wait(EVERY):
            share = None
            with contextlib.suppress(Exception):  # a driver that went away
                share = self._ask()
            self._answers.append((self._clock(), share))


def driver_watch(device: str) -> DriverWatch | None:
    """A watch of one of torch's devices (`cuda:0`); None where NVML has no word on it."""
    try:
        import pynvml

        handle = find_handle(device)
        pynvml.nvmlDeviceGetUtilizationRates(handle)
    except Exception:
        return None
    looked, alone = -LOOK_AGAIN, False

    def ask() -> float | None:
        nonlocal looked, alone
        now = time.monotonic()
        if now - looked >= LOOK_AGAIN:
            looked, alone = now, is_alone(handle)
        return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100 if alone else None

    return DriverWatch(ask)


def device_clock(device: str) -> DeviceClock | None:
    """A clock for one of torch's devices; None on a processor."""
    if not device.startswith("cuda"):
        return None
    import torch

    return DeviceClock(lambda: torch.cuda.Event(enable_timing=True), driver_watch(device))
