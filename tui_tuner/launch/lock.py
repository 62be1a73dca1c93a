"""One process per run: a lock on the run folder that the kernel drops when its owner dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.runs.death import vital_signs
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line


@contextmanager
def owned(folder: RunFolder) -> Iterator[None]:
    """Hold a run while the body trains it, and write this process into its manifest.

    Raises:
        UsageError: another process trains it now.
    """
    fd = os.open(folder.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = folder.manifest().get("pid", "unknown")
            name = one_line(folder.name)
            raise UsageError(
                _("is being trained by another process (pid {pid}).", pid=pid),
                where=name,
                hint=_(
                    "Watch it with `tui-tuner attach {name}`, or end it with `tui-tuner stop {name}`.",
                    name=name,
                ),
            ) from None
        folder.claim(vital_signs=vital_signs())
        yield
    finally:
        os.close(fd)
