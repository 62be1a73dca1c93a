"""Notice that the GPU is idle for minutes while its run should be training."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from tui_tuner.locales import _
from tui_tuner.runs.events import EventBody, Warned
from tui_tuner.text import format_seconds

CODE = "gpu_idle"
EVERY = 10.0  # seconds between two checks
LONG = 300.0  # seconds of idleness that are reported
NOTHING = 0.02  # share of time with a kernel running up to which a GPU counts as idle


class IdleWatch:
    """Checks in a separate thread how busy the device is; reports each long time of idleness once.

    Args:
        ask: Returns the share of time in which a kernel ran; None if it is not known.
        tell: Takes the warning.
        resting: Returns whether the run has nothing to compute now, because it is paused.
    """

    def __init__(
        self,
        ask: Callable[[], float | None],
        tell: Callable[[EventBody], None],
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
        self._thread = threading.Thread(target=self._watch_device, name="gpu idle", daemon=True)

    def start_idle_watch(self) -> None:
        self._thread.start()

    def stop_idle_watch(self) -> None:
        self._done.set()

    def look_once(self) -> None:
        """Check the device once; warn if it has been idle for long."""
        share = self._ask()
        # An unknown share ends a stretch too: a warning needs minutes that are all known to be idle.
        if share is None or share > NOTHING or self._resting():
            self._since, self._told = None, False
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._long and not self._told:
            self._told = True
            message = _(
                "The GPU has had nothing to do for {time}, and the run is not paused.",
                time=format_seconds(now - self._since),
            )
            hint = _("Check the run: reading rows, a slow disk or another process may be holding it up.")
            self._tell(Warned(CODE, message, hint))

    def _watch_device(self) -> None:
        while not self._done.wait(self._every):
            # The driver may be gone; the thread must survive that.
            with contextlib.suppress(Exception):
                self.look_once()


def make_idle_watch(
    device: str, tell: Callable[[EventBody], None], resting: Callable[[], bool]
) -> IdleWatch | None:
    """Return a watch of one of torch's devices (`cuda:0`), None on a CPU or if NVML has no figures on it."""
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml

        from tui_tuner.training.watching.nvml import find_nvml_handle

        handle = find_nvml_handle(device)
        # Tried once here, so that a device without this figure gets no watch.
        pynvml.nvmlDeviceGetUtilizationRates(handle)
    except Exception:
        return None
    return IdleWatch(lambda: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100, tell, resting)
