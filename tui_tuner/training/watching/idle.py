"""Noticing that the GPU has nothing to do for minutes while its run should train."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from tui_tuner.locales import _
from tui_tuner.runs.events import Body, Warned
from tui_tuner.text import human_seconds

CODE = "gpu_idle"
EVERY = 10.0  # seconds between two looks
LONG = 300.0  # seconds of idleness that are told
NOTHING = 0.02  # share of the time with a kernel running, at most, that counts as idle


class IdleWatch:
    """Looks, in a thread of its own, how busy the device is; tells each long time of idleness once.

    Args:
        ask: The share of the time in which a kernel ran; None where it is not known.
        tell: Is given a warning.
        resting: Whether the run has nothing to compute now: it is paused.
    """

    def __init__(
        self,
        ask: Callable[[], float | None],
        tell: Callable[[Body], None],
        resting: Callable[[], bool],
        every: float = EVERY,
        long: float = LONG,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._tell, self._resting = ask, tell, resting
        self._every, self._long, self._clock = every, long, clock
        self._since: float | None = None
        self._told = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gpu idle", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._done.set()

    def look(self) -> None:
        """Look once."""
        share = self._ask()
        if share is None or share > NOTHING or self._resting():
            self._since, self._told = None, False
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._long and not self._told:
            self._told = True
            message = _(
                "The GPU has had nothing to do for {time}, and the run is not paused.",
                time=human_seconds(now - self._since),
            )
            hint = _("Look at the run: rows, a disk or another process may hold it up.")
            self._tell(Warned(CODE, message, hint))

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            with contextlib.suppress(Exception):  # a driver that went away
                self.look()


def idle_watch(device: str, tell: Callable[[Body], None], resting: Callable[[], bool]) -> IdleWatch | None:
    """A watch of one of torch's devices (`cuda:0`); None on a processor, and where NVML has no word on it."""
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml

        from tui_tuner.training.watching.nvml import find_handle

        handle = find_handle(device)
        pynvml.nvmlDeviceGetUtilizationRates(handle)
    except Exception:
        return None
    return IdleWatch(lambda: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100, tell, resting)
