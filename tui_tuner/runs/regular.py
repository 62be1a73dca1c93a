"""Reading files of a run folder that somebody else may have put there: never a pipe or device without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 64 * 1024 * 1024  # of a file that is read as a whole


def open_regular(path: Path | str) -> BinaryIO:
    """Open a file for reading, if it is one; it is not waited for.

    Raises:
        OSError: it is missing, not to be read, or no regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        return os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise


def read_regular(path: Path | str) -> bytes:
    """All of a small file.

    Raises:
        OSError: as `open_regular`, or it is far too large.
    """
    with open_regular(path) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise OSError(errno.EFBIG, "too large", str(path))
    return data
