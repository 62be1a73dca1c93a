"""Runs Python's garbage collector while no keys are pressed.

A full collection takes a tenth of a second or more with the GIL held: meanwhile no key is handled, and a run
in this process makes no progress. Screens that open and close leave cycles, so the collector would start just
while the user works. Here it waits until no key was pressed for a while.
"""

from __future__ import annotations

import gc
import time

REST_SECONDS = 2.0
MANY = 100  # middle-generation collections after which a full one is worth its time
TOO_MANY = 2000  # then Python starts it without waiting


class GarbageTiming:
    """The collector of a process with a screen."""

    def __init__(self) -> None:
        self._touched = 0.0
        self._before = gc.get_threshold()

    def start_collecting(self) -> None:
        """Enable collection after a start without it; objects made before are never searched."""
        if not gc.isenabled():
            # Modules and classes of the start live as long as the process: searching them finds nothing.
            gc.freeze()
            gc.enable()
            gc.set_threshold(*self._before[:2], TOO_MANY)

    def restore_thresholds(self) -> None:
        """Restore Python's own thresholds, for a run that continues without a screen."""
        gc.set_threshold(*self._before)

    def note_input(self) -> None:
        """Note that a key was pressed or the mouse moved."""
        self._touched = time.monotonic()

    def collect_if_idle(self) -> None:
        """Collect if there is much to find and no key was pressed for a while."""
        if gc.get_count()[2] >= MANY and time.monotonic() - self._touched > REST_SECONDS:
            gc.collect()
