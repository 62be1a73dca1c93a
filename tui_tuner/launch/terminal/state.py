"""The terminal as it was before a screen took it, and how to give it back."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
from collections.abc import Iterator
from typing import Any

# What a screen switches on, off again: mouse, paste marks, focus, resize reports, held-back painting, the
# keyboard protocol, line wrap and colours; then the other screen is left and the cursor shown.
_LEAVE = (
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"
    b"\x1b[?2004l\x1b[?1004l\x1b[?2048l\x1b[?2026l\x1b[<u\x1b[?7h\x1b[0m\x1b[?1049l\x1b[?25h"
)
_PATIENCE = 300  # milliseconds for a terminal that takes nothing, such as one behind a dead connection


class TerminalState:
    """Made before the screen is opened.

    Args:
        keys: The file descriptor that keys come from.
        out: The one that is painted on.
    """

    def __init__(self, keys: int = 0, out: int = 1) -> None:
        self._keys, self._out = keys, out
        with contextlib.suppress(OSError):
            self._out = os.dup(out)  # standard output will lead to a log
        self._attributes: list[Any] | None = None
        with contextlib.suppress(termios.error, OSError, ValueError):
            self._attributes = termios.tcgetattr(keys)

    def restore(self) -> None:
        """Leave the other screen, and read keys as before. Never waits long, never raises."""
        self.write(_LEAVE)
        if self._attributes is None:
            return
        with _not_stopped(), contextlib.suppress(termios.error, OSError, ValueError):
            if os.tcgetpgrp(self._keys) != os.getpgrp():
                return  # a shell with job control has it again, and has set it for itself
            termios.tcflush(self._keys, termios.TCIFLUSH)  # reports of the mouse that nobody will read
            termios.tcsetattr(self._keys, termios.TCSANOW, self._attributes)

    def write(self, block: bytes) -> bool:
        """Write to the terminal, if it takes anything; whether it did."""
        try:
            poller = select.poll()
            poller.register(self._out, select.POLLOUT)
            ready = poller.poll(_PATIENCE)
            if not ready or ready[0][1] & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                return False
            return os.write(self._out, block) == len(block)
        except (OSError, ValueError):
            return False


@contextlib.contextmanager
def _not_stopped() -> Iterator[None]:
    """A process that is no longer in front would be stopped for changing the terminal."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hung_up(fd: int) -> bool:
    """Whether the terminal behind a file descriptor is gone."""
    try:
        poller = select.poll()
        poller.register(fd, 0)
        return any(what & (select.POLLHUP | select.POLLERR) for _unused, what in poller.poll(0))
    except (OSError, ValueError):
        return False
