"""A little room kept for the journal: given up when the disk is full, so that the run can still say so."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NAME = ".ballast"
SIZE = 256 * 1024  # bytes: a few hundred events


def put(folder: Path) -> bool:
    """Reserve the room, if it is not reserved yet; returns whether it is."""
    path = folder / NAME
    try:
        if path.exists():
            return True
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(fd, 0, SIZE)
        except OSError:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def release(folder: Path) -> bool:
    """Give the room up; returns whether there was any."""
    with contextlib.suppress(OSError):
        (folder / NAME).unlink()
        return True
    return False
