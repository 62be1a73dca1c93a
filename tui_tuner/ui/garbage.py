"""When Python looks for garbage: at moments in which nobody is typing.

Searching all objects takes a tenth of a second and more, with Python's lock held: no key is answered
meanwhile, and no step of a run in this process goes on. Screens that open and close leave cycles, so the
collector would turn just when one is at work. Here it waits until the keys have rested.
"""

from __future__ import annotations

import gc
import time

REST_SECONDS = 2.0
MANY = 100  # collections of middle-aged objects after which a search of all is worth its time
TOO_MANY = 2000  # then it comes unasked


class Garbage:
    """The collector of a process with a screen."""

    def __init__(self) -> None:
        self._touched = 0.0
        self._before = gc.get_threshold()

    def begin(self) -> None:
        """Turn collection on after a start without it; what was made by then stays, and is never searched."""
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
            gc.set_threshold(*self._before[:2], TOO_MANY)

    def end(self) -> None:
        """The screen is gone, and nobody looks any more: Python's own turns again, for a run that goes on."""
        gc.set_threshold(*self._before)

    def touched(self) -> None:
        """A key was pressed, or the mouse moved."""
        self._touched = time.monotonic()

    def look(self) -> None:
        """Collect, if there is much to find and nobody waits."""
        if gc.get_count()[2] >= MANY and time.monotonic() - self._touched > REST_SECONDS:
            gc.collect()
