"""Giving the shell its prompt back while the run goes on in this very process.

A training thread cannot move to another process. So the screen and its training thread live in a child from
the start, and the process that the shell knows only waits for it. To detach, the child leaves the terminal's
session and tells the waiter to exit.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

_DETACHED = b"d"


def behind_waiter() -> Callable[[], None]:
    """Fork. Returns in the child only, with the function that detaches it; call before any thread exists.

    The parent passes SIGTERM on, and exits with the child's exit code, or with 0 as soon as it detaches.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(write_end)
        os._exit(_wait(child, read_end))
    os.close(read_end)
    released = False

    def release() -> None:
        nonlocal released
        if released:
            return
        released = True
        os.setsid()
        try:
            os.write(write_end, _DETACHED)
        except OSError:  # the waiter died with the terminal
            return
        finally:
            os.close(write_end)

    return release


def _wait(child: int, read_end: int) -> int:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)  # the child has it too, from the terminal
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    waiting = [read_end, wake_read]
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
        ready, _, _ = select.select(waiting, [], [])
        if wake_read in ready:
            os.read(wake_read, 512)
        if read_end in ready:
            if os.read(read_end, 1) == _DETACHED:
                return 0
            waiting.remove(read_end)  # the child is ending
