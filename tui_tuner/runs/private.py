"""Files of a run folder, opened for writing: never through a link that somebody planted, never a pipe."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_private(path: Path | str, flags: int) -> int:
    """A descriptor of a regular file, made private to this user if it is new.

    Raises:
        OSError: as `os.open`; ELOOP for a link, EINVAL for what is no file.
    """
    return _open(path, flags | os.O_NOFOLLOW)


def open_file(path: Path | str) -> BinaryIO:
    """A regular file to read; whoever opens a pipe in its place would wait for ever.

    Raises:
        OSError: as `open`; EINVAL for what is no file.
    """
    return open(_open(path, os.O_RDONLY), "rb")


def _open(path: Path | str, flags: int) -> int:
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
    os.set_blocking(fd, True)
    return fd


def read_file(path: Path | str, most: int = 16 << 20) -> str:
    """The text of a small file.

    Raises:
        OSError: as `open_file`; EFBIG where it is larger than `most` bytes.
        UnicodeDecodeError: it is not UTF-8.
    """
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content.decode("utf-8")


def may_steer(fd: int) -> bool:
    """Whether an open file can only have been written by this user (or the administrator)."""
    status = os.fstat(fd)
    return stat.S_ISREG(status.st_mode) and status.st_uid in (os.geteuid(), 0) and not status.st_mode & 0o022
