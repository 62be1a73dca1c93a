"""Read rows again from their places in files: bytes at an offset, if the file has not changed."""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from dataclasses import dataclass

_HELD = 16  # open files: one that is removed or replaced meanwhile can still be read
_TAIL = 4096  # bytes before the old end, which show that a file has only grown


@dataclass
class _SeenFile:
    """A file as it was when its first row was read.

    Args:
        stamp: Device, inode, size and time of the last change; equal if nothing was written to it.
    """

    path: str
    stamp: tuple[int, int, int, int]
    size: int
    tail: int


class PlacedFiles:
    """Files by number. Not safe for several threads at once."""

    def __init__(self) -> None:
        self._seen: list[_SeenFile] = []
        self._numbers: dict[str, int] = {}
        self._open: OrderedDict[int, int] = OrderedDict()  # descriptors by number

    def number_of(self, path: str) -> int:
        """Return the number of a file; -1 if it cannot be opened again."""
        number = self._numbers.get(path)
        if number is None:
            number = self._numbers[path] = self._register_file(path)
        return number

    def _register_file(self, path: str) -> int:
        full = os.path.abspath(path)
        try:
            file = os.open(full, os.O_RDONLY)
        except OSError:
            return -1
        number = len(self._seen)
        self._keep_open(number, file)
        stamp = _stamp_of(file)
        self._seen.append(_SeenFile(full, stamp, stamp[2], _tail_of(file, stamp[2])))
        return number

    def read_bytes(self, number: int, at: int, size: int) -> bytes | None:
        """Read bytes of a file; None if they are not there any more."""
        seen = self._seen[number]
        try:
            file = self._open_file(number)
            stamp = _stamp_of(file)
            if stamp != seen.stamp:
                # Same file, not smaller: it may only have been appended to, as logs are.
                same = stamp[:2] == seen.stamp[:2] and stamp[2] >= seen.size
                if not same or _tail_of(file, seen.size) != seen.tail:
                    return None
                # It has only grown at its end, so the places of earlier rows are still right.
                seen.stamp = stamp
            found = os.pread(file, size, at)
        except OSError:
            return None
        return found if len(found) == size else None

    def _open_file(self, number: int) -> int:
        file = self._open.get(number)
        if file is None:
            file = os.open(self._seen[number].path, os.O_RDONLY)
            self._keep_open(number, file)
        else:
            self._open.move_to_end(number)
        return file

    def _keep_open(self, number: int, file: int) -> None:
        self._open[number] = file
        # A data set may have more files than a process may open.
        if len(self._open) > _HELD:
            os.close(self._open.popitem(last=False)[1])

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.popitem()[1])


def _stamp_of(file: int) -> tuple[int, int, int, int]:
    found = os.fstat(file)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _tail_of(file: int, end: int) -> int:
    first = max(0, end - _TAIL)
    return zlib.crc32(os.pread(file, end - first, first))
