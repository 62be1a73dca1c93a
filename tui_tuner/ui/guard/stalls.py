"""Detects that the screen is frozen and logs where each thread is at that moment."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from tui_tuner.ui.guard.faultlog import FaultLog, format_thread_stacks

LEAST = 5.0  # seconds without a turn of the event loop
_LOOK = 0.5
_MOST_OF_A_LOOK = 1.0  # the most that one check counts: the machine may have slept


class StallWatch:
    """A thread that checks that `record_beat` is called. It only counts time in which it was scheduled
    itself.

    Args:
        say: Called in that thread when the screen responds again, with the seconds frozen and the log's path.
    """

    def __init__(
        self, log: FaultLog, say: Callable[[float, str], None], least: float = LEAST, look: float = _LOOK
    ) -> None:
        self._log, self._say = log, say
        self._least, self._every = least, look
        self._beats = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch_beats, name="stall-watch", daemon=True)

    def start_watching(self) -> None:
        self._thread.start()

    def stop_watching(self) -> None:
        self._done.set()

    def record_beat(self) -> None:
        """Note that the event loop is alive."""
        self._beats += 1

    def _watch_beats(self) -> None:
        seen, quiet, path, before = -1, 0.0, "", time.monotonic()
        while not self._done.wait(self._every):
            now = time.monotonic()
            passed, before = now - before, now
            with contextlib.suppress(Exception):  # watching must never harm what is watched
                if self._beats != seen:
                    if quiet >= self._least:
                        self._say(quiet, path)
                    seen, quiet, path = self._beats, 0.0, ""
                    continue
                # Without the limit a laptop that slept would be reported as frozen for hours.
                was, quiet = quiet, quiet + min(passed, _MOST_OF_A_LOOK)
                # Only on the check that crosses the limit, so that one stall gives one entry.
                if was < self._least <= quiet:
                    path = self._log.record_fault(
                        f"the screen has been frozen for {quiet:.1f} s", text=format_thread_stacks()
                    )
