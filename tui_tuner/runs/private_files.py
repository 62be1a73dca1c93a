"""Open files of a run folder safely: never through a planted link, never a pipe."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_private(path: Path | str, flags: int) -> int:
    """Open a regular file and return its descriptor; a new file is private to this user.

    Raises:
        OSError: as `os.open`; ELOOP for a link, EINVAL if it is not a regular file.
    """
    return _open_regular(path, flags | os.O_NOFOLLOW)


def open_regular_file(path: Path | str) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: as `open`; EINVAL if it is not a regular file.
    """
    return open(_open_regular(path, os.O_RDONLY), "rb")


def _open_regular(path: Path | str, flags: int) -> int:
    # Without O_NONBLOCK, opening a pipe in the file's place would wait for ever for its other end.
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
    os.set_blocking(fd, True)
    return fd


def read_small_file(path: Path | str, most: int = 16 << 20) -> str:
    """Read the text of a small file.

    Raises:
        OSError: as `open_regular_file`; EFBIG if it is larger than `most` bytes.
        UnicodeDecodeError: it is not UTF-8.
    """
    with open_regular_file(path) as file:
        # Not by its size: a file may grow between the two calls, and some report 0.
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content.decode("utf-8")


def is_file_trusted(fd: int) -> bool:
    """Return whether only this user or the administrator can have written an open file."""
    status = os.fstat(fd)
    return stat.S_ISREG(status.st_mode) and status.st_uid in (os.geteuid(), 0) and not status.st_mode & 0o022
