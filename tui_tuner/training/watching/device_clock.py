"""Time steps by two events each in a device's queue, read together with the loss, so nothing waits for them.

The device's clock and the host's are matched at each reading: the queue is empty then, as the loss was just
read, so a recorded event is reached at once. The steps before the first reading have no times, because the
clocks are not matched yet.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from tui_tuner.training.watching.device_use import DeviceUse, Stamps, measure_device_times, measure_use
from tui_tuner.training.watching.nvml import find_nvml_handle, is_device_unshared

EVERY = 0.2  # seconds between two queries of the driver
PERIOD = 1.0  # seconds that an answer of the driver may cover
LOOK_AGAIN = 30.0  # seconds between two checks whether other processes use the device


class DeviceEvent(Protocol):
    """A place in the queue of a device, such as a `torch.cuda.Event(enable_timing=True)`."""

    def record(self) -> Any: ...
    def elapsed_time(self, end_event: Any) -> float: ...


class DriverShare(Protocol):
    """The share of time with a kernel running, as the driver reports it."""

    def mean(self, since: float, until: float) -> float | None: ...
    def stop(self) -> None: ...


class DeviceClock:
    """Records events around steps and reads their times.

    If that fails, `problem` holds the reason, and nothing more is measured.

    Args:
        event: Makes an event.
        running: The driver's figures; None if it is not queried.
        clock: The host's clock, in seconds.
    """

    def __init__(
        self,
        event: Callable[[], DeviceEvent],
        running: DriverShare | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._event, self._running, self._clock = event, running, clock
        self._free: list[DeviceEvent] = []
        self._steps: list[tuple[float, float, float, DeviceEvent, DeviceEvent, bool]] = []
        self._open: tuple[float, DeviceEvent] | None = None
        self._ready, self._apart = clock(), True
        self._tie: tuple[float, DeviceEvent] | None = None
        self._before: float | None = None  # when the device finished the last step that was read
        self._since = self._ready  # since when steps follow each other without an evaluation or a pause
        self.problem = ""

    def mark_ready(self, apart: bool) -> None:
        """Note that the work between two steps is done; `apart`: it was more than reports."""
        self._ready, self._apart = self._clock(), apart

    def begin_step(self) -> None:
        """Note that a step has its rows, and that nothing of it is launched yet."""
        self._open = None
        event = self._record_event()
        if event is not None:
            self._open = (self._clock(), event)

    def end_step(self) -> None:
        """Note that all of a step is launched. A step whose beginning was not noted is not counted."""
        began, self._open = self._open, None
        launched = self._clock()
        event = None if began is None else self._record_event()
        if began is not None and event is not None:
            self._steps.append((self._ready, began[0], launched, began[1], event, self._apart))

    def read_times(self) -> tuple[list[float | None], DeviceUse | None]:
        """Return the seconds on the device of each step since the last reading, and its use over all of them.

        Call it just after numbers of the last step were read from the device. Nothing is returned before the
        clocks are matched, and after a failure.
        """
        steps, self._steps = self._steps, []
        tie = self._tie
        try:
            stamps = [self._read_stamps(tie, step) for step in steps] if tie is not None else []
            self._tie = self._new_tie(tie)
        # An event that was not reached, or a device that failed.
        except Exception as error:
            self._give_up(error)
            return [], None
        self._free += [event for step in steps for event in (step[3], step[4])]
        if tie is None and self._tie is not None:
            self._before = self._since = self._tie[0]
        if not stamps:
            return [], None
        # The driver's shares know no steps, so only a stretch without evaluations and pauses has a share.
        for index, step in enumerate(stamps):
            if step.apart or (index == 0 and self._before is None):
                self._since = step.ready
        found = measure_device_times(stamps, self._before)
        running = None
        if self._running is not None:
            running = self._running.mean(self._since, stamps[-1].ended)
        use = measure_use(stamps, self._before, running)
        self._before = stamps[-1].ended
        return [seconds if seconds > 0 else None for seconds in found], use

    def stop_clock(self) -> None:
        """Stop querying the driver."""
        if self._running is not None:
            self._running.stop()

    def _record_event(self) -> DeviceEvent | None:
        if self.problem:
            return None
        try:
            event = self._free.pop() if self._free else self._event()
            event.record()
        except Exception as error:
            self._give_up(error)
            return None
        return event

    def _new_tie(self, old: tuple[float, DeviceEvent] | None) -> tuple[float, DeviceEvent] | None:
        event = old[1] if old is not None else self._event()
        # The moment of the record is taken as the middle of the call, which may take a while itself.
        before = self._clock()
        event.record()
        return (before + self._clock()) / 2, event

    @staticmethod
    def _read_stamps(
        tie: tuple[float, DeviceEvent], step: tuple[float, float, float, DeviceEvent, DeviceEvent, bool]
    ) -> Stamps:
        ready, begun, launched, first, last, apart = step
        moment, event = tie
        began, ended = (moment + event.elapsed_time(one) / 1000 for one in (first, last))
        return Stamps(ready, begun, launched, began, ended, apart)

    def _give_up(self, error: Exception) -> None:
        self.problem = str(error) or type(error).__name__
        self._steps, self._open, self._tie = [], None, None


class DriverWatch:
    """Queries the share of time that kernels ran from NVML, in a thread that starts with the first reading.

    Never raises.

    Args:
        ask: Returns that share, or None if it is not known (others use the device too).
    """

    def __init__(self, ask: Callable[[], float | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        # Two minutes of answers: a long pause between readings must not fill the memory.
        self._answers: deque[tuple[float, float | None]] = deque(maxlen=round(120 / EVERY))
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch_driver, name="gpu use", daemon=True)

    def stop(self) -> None:
        """End the thread."""
        self._done.set()

    def mean(self, since: float, until: float) -> float | None:
        """Return the mean share between two moments of the host's clock, or None if it is not known.

        Each answer of the driver counts in one call only.
        """
        if self._thread.ident is None and not self._done.is_set():
            self._thread.start()
        found = []
        while self._answers and self._answers[0][0] <= until:
            moment, share = self._answers.popleft()
            # An answer covers up to PERIOD seconds before it, so earlier ones cover time before `since` too.
            if moment >= since + PERIOD:
                found.append(share)
        known = [share for share in found if share is not None]
        return sum(known) / len(known) if known and len(known) == len(found) else None

    def _watch_driver(self) -> None:
        while not self._done.wait(EVERY):
            share = None
            # The driver may be gone; the thread must survive that.
            with contextlib.suppress(Exception):
                share = self._ask()
            self._answers.append((self._clock(), share))


def make_driver_watch(device: str) -> DriverWatch | None:
    """Return a watch of one of torch's devices (`cuda:0`), None if NVML has no figures on it."""
    try:
        import pynvml

        handle = find_nvml_handle(device)
        pynvml.nvmlDeviceGetUtilizationRates(handle)
    except Exception:
        return None
    looked, alone = -LOOK_AGAIN, False

    def ask() -> float | None:
        nonlocal looked, alone
        now = time.monotonic()
        if now - looked >= LOOK_AGAIN:
            looked, alone = now, is_device_unshared(handle)
        return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100 if alone else None

    return DriverWatch(ask)


def make_device_clock(device: str) -> DeviceClock | None:
    """Return a clock for one of torch's devices, None on a CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    return DeviceClock(lambda: torch.cuda.Event(enable_timing=True), make_driver_watch(device))
