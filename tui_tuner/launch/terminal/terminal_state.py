"""Saves the state of the terminal before a screen takes it, and restores it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
from collections.abc import Iterator
from typing import Any

# Undoes what a screen switches on: mouse, bracketed paste, focus and resize reports, synchronised output, the
# keyboard protocol, line wrap and colours; then leaves the alternate screen and shows the cursor.
_LEAVE = (
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1016l"
    b"\x1b[?2004l\x1b[?1004l\x1b[?2048l\x1b[?2026l\x1b[<u\x1b[?7h\x1b[0m\x1b[?1049l\x1b[?25h"
)
_PATIENCE = 300  # milliseconds to wait for a terminal that accepts nothing, as over a dead connection


class TerminalState:
    """The saved state of a terminal; create it before the screen opens.

    Args:
        keys: The file descriptor that keys come from.
        out: The file descriptor that is drawn on.
    """

    def __init__(self, keys: int = 0, out: int = 1) -> None:
        self._keys, self._out = keys, out
        with contextlib.suppress(OSError):
            # Standard output will point to a log later
            self._out = os.dup(out)
        self._attributes: list[Any] | None = None
        with contextlib.suppress(termios.error, OSError, ValueError):
            self._attributes = termios.tcgetattr(keys)

    def restore_terminal(self) -> None:
        """Leave the alternate screen and restore the keyboard settings. Never waits long, never raises."""
        self.write_block(_LEAVE)
        if self._attributes is None:
            return
        with _block_sigttou(), contextlib.suppress(termios.error, OSError, ValueError):
            if os.tcgetpgrp(self._keys) != os.getpgrp():
                # A shell with job control has the terminal again, with its own settings
                return
            # Mouse reports that the shell would take for input
            termios.tcflush(self._keys, termios.TCIFLUSH)
            termios.tcsetattr(self._keys, termios.TCSANOW, self._attributes)

    def write_block(self, block: bytes) -> bool:
        """Write to the terminal if it accepts anything; return whether it did."""
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
def _block_sigttou() -> Iterator[None]:
    """Block SIGTTOU, which would stop a background process that changes the terminal."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def has_hung_up(fd: int) -> bool:
    """Return whether the terminal behind a file descriptor was closed."""
    try:
        poller = select.poll()
        poller.register(fd, 0)
        return any(what & (select.POLLHUP | select.POLLERR) for _unused, what in poller.poll(0))
    except (OSError, ValueError):
        return False
