"""One process per run: a lock on the run folder, which the kernel releases when its owner dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tui_tuner.errors import RunError, UsageError
from tui_tuner.locales import _
from tui_tuner.runs.death import read_vital_signs
from tui_tuner.runs.private_files import open_private
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line

HEARTBEATS_SECONDS = 12.0  # time for two heartbeats of a run that is alive


def _require_not_elsewhere(folder: RunFolder) -> None:
    """Raise `UsageError` if another machine trains the run: on a network disk, locks may not reach it.

    Its heartbeats decide, as this machine may have another name now (a container that was restarted).
    """
    host = folder.find_other_host()
    if not host:
        return
    size, deadline = _measure_journal(folder), time.monotonic() + HEARTBEATS_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.25)
        if _measure_journal(folder) != size:
            name = one_line(folder.name)
            raise UsageError(
                _("is being trained on another machine, {host}.", host=one_line(host)),
                where=name,
                hint=_(
                    "Watch it with `tui-tuner attach {name}`, or stop it with `tui-tuner stop {name}`. If "
                    "you "
                    "know it is not running, take it over with `tui-tuner resume {name} --force`.",
                    name=name,
                ),
            )


def _measure_journal(folder: RunFolder) -> int:
    try:
        return folder.events_path.stat().st_size
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
            hint=_("Check the folder's permissions, and anything else with the name of this file."),
        ) from None


@contextmanager
def hold_lock(folder: RunFolder) -> Iterator[None]:
    """Hold the lock of a run during the body, and record this process in its manifest.

    Raises:
        UsageError: another process is training it.
        RunError: the folder cannot be written.
    """
    fd = _open_lock(folder)
    try:
        try:
            # flock, as the kernel releases it when the process dies, even by kill -9
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = folder.read_manifest().get("pid", "unknown")
            name = one_line(folder.name)
            raise UsageError(
                _("is being trained by another process (pid {pid}).", pid=pid),
                where=name,
                hint=_(
                    "Watch it with `tui-tuner attach {name}`, or stop it with `tui-tuner stop {name}`.",
                    name=name,
                ),
            ) from None
        _require_not_elsewhere(folder)
        folder.claim_run(vital_signs=read_vital_signs())
        yield
    finally:
        os.close(fd)
