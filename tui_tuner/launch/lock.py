"""One process per run: a lock on the run folder that the kernel drops when its owner dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tui_tuner.errors import RunError, UsageError
from tui_tuner.locales import _
from tui_tuner.runs.death import vital_signs
from tui_tuner.runs.private import open_private
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line

HEARTBEATS_SECONDS = 12.0  # in which a run that is alive shows two of them


def _not_elsewhere(folder: RunFolder) -> None:
    """Raise `UsageError` if another host trains the run: on a network's disk a lock may not reach it.

    Its heartbeats are waited for, for a machine may have got another name since (a container, started again).
    """
    host = folder.elsewhere()
    if not host:
        return
    size, deadline = _size(folder), time.monotonic() + HEARTBEATS_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.25)
        if _size(folder) != size:
            name = one_line(folder.name)
            raise UsageError(
                _("is being trained on another machine, {host}.", host=one_line(host)),
                where=name,
                hint=_(
                    "Watch it with `tui-tuner attach {name}`, or end it with `tui-tuner stop {name}`. If you "
                    "know better, take the run with `tui-tuner resume {name} --force`.",
                    name=name,
                ),
            )


def _size(folder: RunFolder) -> int:
    try:
        return folder.events.stat().st_size
    except OSError:
        return 0


def _open_lock(folder: RunFolder) -> int:
    path = folder.path / ".lock"
    try:
        return open_private(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise RunError(
            _("cannot be locked: {problem}.", problem=error.strerror),
            where=one_line(path),
            hint=_("Check the folder's permissions, and what is in the place of this file."),
        ) from None


@contextmanager
def owned(folder: RunFolder) -> Iterator[None]:
    """Hold a run while the body trains it, and write this process into its manifest.

    Raises:
        UsageError: another process trains it now.
        RunError: the folder cannot be written.
    """
    fd = _open_lock(folder)
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
        _not_elsewhere(folder)
        folder.claim(vital_signs=vital_signs())
        yield
    finally:
        os.close(fd)
