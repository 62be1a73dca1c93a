"""Rows read again from their places in files: bytes at an offset, as long as the file is still the same."""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from dataclasses import dataclass

_HELD = 16  # files that are held open, so that one that is removed or replaced meanwhile can still be read
_TAIL = 4096  # bytes before its end, by which a file that has only grown is told


@dataclass
class _Seen:
    """A file as it was when its first row came.

    Args:
        stamp: What says that nothing was written to it: device, inode, size, time of the last change.
    """

    path: str
    stamp: tuple[int, int, int, int]
    size: int
    tail: int


class PlacedFiles:
    """Files by number. Not for several threads at a time."""

    def __init__(self) -> None:
        self._seen: list[_Seen] = []
        self._numbers: dict[str, int] = {}
        self._open: OrderedDict[int, int] = OrderedDict()  # descriptors by number

    def number_of(self, path: str) -> int:
        """The number of a file; -1 where it cannot be opened again."""
        number = self._numbers.get(path)
        if number is None:
            number = self._numbers[path] = self._first(path)
        return number

    def _first(self, path: str) -> int:
        full = os.path.abspath(path)
        try:
            file = os.open(full, os.O_RDONLY)
        except OSError:
            return -1
        number = len(self._seen)
        self._hold(number, file)
        stamp = _stamp_of(file)
        self._seen.append(_Seen(full, stamp, stamp[2], _tail_of(file, stamp[2])))
        return number

    def read(self, number: int, at: int, size: int) -> bytes | None:
        """Bytes of a file; None where they are not there any more."""
        seen = self._seen[number]
        try:
            file = self._file(number)
            stamp = _stamp_of(file)
            if stamp != seen.stamp:
                same = stamp[:2] == seen.stamp[:2] and stamp[2] >= seen.size
                if not same or _tail_of(file, seen.size) != seen.tail:
                    return None
                seen.stamp = stamp  # it has grown at its end
            found = os.pread(file, size, at)
        except OSError:
            return None
        return found if len(found) == size else None

    def _file(self, number: int) -> int:
        file = self._open.get(number)
        if file is None:
            file = os.open(self._seen[number].path, os.O_RDONLY)
            self._hold(number, file)
        else:
            self._open.move_to_end(number)
        return file

    def _hold(self, number: int, file: int) -> None:
        self._open[number] = file
        if len(self._open) > _HELD:
            os.close(self._open.popitem(last=False)[1])

    def close(self) -> None:
        """Let go of the files."""
        while self._open:
            os.close(self._open.popitem()[1])


def _stamp_of(file: int) -> tuple[int, int, int, int]:
    found = os.fstat(file)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _tail_of(file: int, end: int) -> int:
    first = max(0, end - _TAIL)
    return zlib.crc32(os.pread(file, end - first, first))
