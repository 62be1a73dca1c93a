"""A run in a process of its own, in a session of its own: no terminal can take it along."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tui_tuner.errors import RunError
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line

_START_LIMIT = 60.0  # seconds until the child must have claimed the run


def start_detached(folder: RunFolder, resume: bool = False) -> int:
    """Start `launch.worker` on a run folder and wait until it owns the run.

    Returns:
        The child's pid.

    Raises:
        RunError: the child ended before it owned the run.
    """
    command = [sys.executable, "-m", "tui_tuner.launch.worker", str(folder.path.resolve())]
    if resume:
        command.append("--resume")
    log = os.open(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
        )
    finally:
        os.close(log)
    deadline = time.monotonic() + _START_LIMIT
    while folder.manifest().get("pid") != child.pid:
        code = child.poll()
        if code is not None or time.monotonic() > deadline:
            raise RunError(
                f"the background process ended before it began (exit code {code}).",
                where=one_line(folder.path),
                hint=f"Its output is in {one_line(folder.log)}.",
            )
        time.sleep(0.05)
    return child.pid
