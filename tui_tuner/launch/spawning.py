"""Starts processes of this program in their own session, and ends them with everything they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import IO

from tui_tuner.runs.death import Death, describe_process_exit, read_vital_signs


class ChildProcess(subprocess.Popen[bytes]):
    """Runs `python -m module arguments` in its own session, so that no terminal can end it.

    Its standard streams are /dev/null unless others are given.

    Args:
        keep: File descriptors that it inherits in addition to its standard streams.

    Raises:
        OSError: the process cannot be started.
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
        self._signs, self._began = read_vital_signs(), time.time()
        super().__init__(
            [sys.executable, "-m", module, *arguments],
            bufsize=0,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=keep,
        )

    def end_child(self) -> None:
        """Kill the process with all that it started, and wait for its end. Any thread may call it."""
        with self._ending:
            # Later the group's number may belong to another process
            if not self._ended:
                self._ended = True
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def describe_death(self) -> Death:
        """Wait for its end and describe it (see `runs.death.describe_process_exit`)."""
        return describe_process_exit(self.wait(), self.pid, self._signs, self._began)
