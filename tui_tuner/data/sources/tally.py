"""An independent count beside every reader: what was read has to sum to what a file holds.

Lines are counted in the raw blocks as they pass, which costs next to nothing, by code that knows nothing of
rows; columnar files say themselves how many rows they have. Reading that ends early compares nothing.
"""

from __future__ import annotations

import io
from typing import Any

from tui_tuner.data.sources.streams import HEAD
from tui_tuner.errors import DataError
from tui_tuner.locales import _
from tui_tuner.text import one_line


class LineTally(io.RawIOBase):
    """Bytes of another file, with the line ends in them counted on the way."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._ends = 0
        self._last = b"\n"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._source.read(len(buffer))
        if block:
            self._ends += block.count(b"\n")
            self._last = block[-1:]
        buffer[: len(block)] = block
        return len(block)

    @property
    def ends(self) -> int:
        """Line feeds so far."""
        return self._ends

    @property
    def lines(self) -> int:
        """Lines so far; the last one counts without a line end too."""
        return self._ends + (self._last != b"\n")


def tallied(file: io.BufferedReader) -> tuple[io.BufferedReader, LineTally]:
    """The same file, and the tally of what is read of it."""
    tally = LineTally(file)
    return io.BufferedReader(tally, HEAD), tally


def must_agree(name: str, read: int, there: int) -> None:
    """Compare rows read with those that a file says it has.

    Raises:
        DataError: they differ.
    """
    if read != there:
        raise DataError(
            _("{read:,} rows were read, but the file holds {there:,}.", read=read, there=there),
            where=one_line(name),
            hint=_("The file is damaged: write it anew."),
        )


def lines_must_agree(name: str, accounted: int, there: int) -> None:
    """Compare the lines of rows, blanks and comments with those that are there.

    Raises:
        DataError: they differ.
    """
    if accounted != there:
        raise DataError(
            _(
                "rows and blank lines make {accounted:,} lines, but the file holds {there:,}.",
                accounted=accounted,
                there=there,
            ),
            where=one_line(name),
            hint=_("Convert the file to JSONL, one row a line, and say which file it was."),
        )
