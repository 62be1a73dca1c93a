"""Reserve some disk space for the journal: it is freed when the disk is full, so that the run can report
that.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

NAME = ".ballast"
SIZE = 256 * 1024  # bytes: a few hundred events


def reserve_ballast_space(folder: Path) -> bool:
    """Reserve the space unless it is reserved already; return whether it is."""
    path = folder / NAME
    try:
        if path.exists():
            return True
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Real blocks: a sparse file would free nothing when it is deleted.
            os.posix_fallocate(fd, 0, SIZE)
        except OSError:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


def release_ballast_space(folder: Path) -> bool:
    """Free the space; return whether there was any."""
    with contextlib.suppress(OSError):
        (folder / NAME).unlink()
        return True
    return False
