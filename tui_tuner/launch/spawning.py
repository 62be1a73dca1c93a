"""Starting a process of this program, in a session of its own; and ending it with all that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO

from tui_tuner.runs.death import Death, ending, vital_signs


class Child(subprocess.Popen[bytes]):
    """`python -m module arguments`, in a session of its own.

    No terminal can end it. Its standard streams are at /dev/null, unless others are given.

    Args:
        keep: File descriptors that it gets, besides its standard streams.

    Raises:
        OSError: the system starts no process.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
        keep: tuple[int, ...] = (),
    ) -> None:
        self._ending = threading.Lock()
        self._ended = False
        self._signs, self._began = vital_signs(), time.time()
        super().__init__(
            [sys.executable, "-m", module, *arguments],
            bufsize=0,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=keep,
        )

    def end(self) -> None:
        """Kill it and what it has started, and wait until it is gone. From any thread; also if it is dead."""
        with self._ending:
            if not self._ended:  # later the group's number may be another's
                self._ended = True
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def death(self) -> Death:
        """How it ended, in words (see `runs.death.ending`). Waits until it has."""
        return ending(self.wait(), self.pid, self._signs, self._began)
