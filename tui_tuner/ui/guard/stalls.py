"""Noticing that the screen stands still, and writing down where each thread is meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from tui_tuner.ui.guard.faultlog import FaultLog, stacks_text

LEAST = 5.0  # seconds without a turn of the event loop
_LOOK = 0.5
_MOST_OF_A_LOOK = 1.0  # what one look counts at most: a machine that slept, or a thread that got no turn


class StallWatch:
    """A thread that looks whether `beat` is called. It counts time in which itself it had its turn.

    Args:
        say: Told in that thread, once the screen goes on: for how long it stood, and the log's name.
    """

    def __init__(
        self, log: FaultLog, say: Callable[[float, str], None], least: float = LEAST, look: float = _LOOK
    ) -> None:
        self._log, self._say = log, say
        self._least, self._every = least, look
        self._beats = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._done.set()

    def beat(self) -> None:
        """The event loop has turned."""
        self._beats += 1

    def _watch(self) -> None:
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
                was, quiet = quiet, quiet + min(passed, _MOST_OF_A_LOOK)
                if was < self._least <= quiet:
                    path = self._log.note(f"the screen stands still for {quiet:.1f} s", text=stacks_text())
