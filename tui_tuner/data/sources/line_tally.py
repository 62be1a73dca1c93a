"""Count lines independently of every reader: what was read must sum to what a file contains.

Lines are counted in the raw blocks as they pass, which costs next to nothing, by code that knows nothing of
rows; columnar files give their own number of rows. If reading stops early, nothing is compared.
"""

from __future__ import annotations

import io
from typing import Any

from tui_tuner.data.sources.streams import HEAD
from tui_tuner.errors import DataError
from tui_tuner.locales import _
from tui_tuner.text import one_line


class LineTally(io.RawIOBase):
    """Pass on the bytes of another file, and count the line ends in them."""

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
            # The last byte decides whether a line without an end follows the last line feed.
            self._last = block[-1:]
        buffer[: len(block)] = block
        return len(block)

    @property
    def line_ends(self) -> int:
        return self._ends

    @property
    def line_count(self) -> int:
        """Return the lines so far; the last one counts even without a line end."""
        return self._ends + (self._last != b"\n")


def add_tally(file: io.BufferedReader) -> tuple[io.BufferedReader, LineTally]:
    """Return the same file, and the tally of what is read from it."""
    tally = LineTally(file)
    return io.BufferedReader(tally, HEAD), tally


def check_row_tally(name: str, read: int, there: int) -> None:
    """Compare the rows read with the number that the file gives.

    Raises:
        DataError: they differ.
    """
    if read != there:
        raise DataError(
            _("{read:,} rows were read, but the file holds {there:,}.", read=read, there=there),
            where=one_line(name),
            hint=_("The file is damaged: write it again."),
        )


def check_line_tally(name: str, accounted: int, there: int) -> None:
    """Compare the lines of rows, blanks and comments with all lines of the file.

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
            hint=_("Convert the file to JSONL, one row per line, and report which file it was."),
        )
