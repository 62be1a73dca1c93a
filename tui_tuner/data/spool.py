"""Keep the rows of a pass over the data, to read them again in any order: by number, by words, or bad rows.

Most kinds of files can only be read from their start, and none is held in memory as a whole. So the rows are
compressed into a file without a name, which disappears with the process. For rows that can be read again from
their places, such as JSON lines, only the places are stored. One thread adds rows; others read.
"""

from __future__ import annotations

import bisect
import json
import os
import shutil
import tempfile
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import zstandard

from tui_tuner.data.formats import find_format
from tui_tuner.data.places import PlacedFiles
from tui_tuner.data.read_data import ReadRow
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_

BLOCK_ROWS, BLOCK_BYTES = 128, 256 << 10  # a block is full with either
LONGEST = 4 << 20  # bytes of a row that is kept whole; the texts of a longer one are cut
_TEXT = 100_000  # characters that are kept of such a text
_FREE = 1 << 30  # bytes of the disk that stay free
_BLOCKS_HELD = 8  # blocks that are held unpacked
_CHANGED = N_("its file has changed since its rows were counted")


@dataclass(frozen=True)
class SpooledRow:
    """A row as it was read, with its outcome in the ledger, and the reason.

    `cut`: it was too long to be kept whole.
    """

    read: ReadRow
    outcome: str = "kept"
    reason: str = ""
    cut: bool = False

    @property
    def usable(self) -> bool:
        """Return whether it can be trained on, as far as that is known without its tokens."""
        return self.outcome != "dropped"


class RowSpool:
    """Stores rows on disk, to read them again in any order.

    Attributes:
        count: Rows so far.
        bad: The numbers of the rows that cannot be used.
        done: All rows were read.
        full: There are more rows, but no room for them.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = str(folder) if folder is not None else tempfile.gettempdir()
        self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  (closed by `close`)
        self._lock = threading.Lock()
        self._packer = zstandard.ZstdCompressor(level=1)
        self._firsts, self._places = array("Q"), array("Q")  # of each block: its first row, where it begins
        self._end = 0
        self._waiting: list[bytes] = []  # rows of the block that is being filled
        self._waiting_bytes = 0
        self._held: OrderedDict[int, list[bytes]] = OrderedDict()
        self._formats: list[tuple[str, dict[str, str]]] = []
        self._files: list[str] = []
        self._kinds: list[tuple[int, int, int, int, bool, str]] = []  # what rows with places share
        self._alike: tuple[Any, ...] = ()  # the kind of the last row
        self._kind = 0  # and its number
        self._placed = PlacedFiles()
        self.count = 0
        self.bad = array("Q")
        self.done = False
        self.full = False

    @property
    def kept_bytes(self) -> int:
        """The bytes that it takes on the disk."""
        return self._end

    def close(self) -> None:
        """Delete the rows from the disk."""
        with self._lock:
            self._file.close()
            self._placed.close()

    # Adding

    def add_row(self, read: ReadRow, outcome: str, reason: str = "") -> None:
        """Keep a row that was read."""
        if self.full:
            return
        placed = read.row.place is not None and read.problem is None and not reason and not read.row.problem
        # Written outside of the lock: a long row must not make readers wait.
        line = b"" if placed else self._write_line(read, outcome, reason)
        with self._lock:
            line = line or self._place_line(read, outcome) or self._write_line(read, outcome, reason)
            if self._file.closed:
                self.full = True
                return
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            if outcome == "dropped":
                self.bad.append(self.count)
            self.count += 1
            if len(self._waiting) >= BLOCK_ROWS or self._waiting_bytes >= BLOCK_BYTES:
                self._write_block()

    def _place_line(self, read: ReadRow, outcome: str) -> bytes:
        """Write the place of a row instead of the row; empty if it must be copied. Needs the lock."""
        row = read.row
        at, size = row.place or (0, LONGEST)
        if size >= LONGEST or self._file.closed:
            return b""
        alike = row.origin.file, read.format, read.columns, read.source, read.merged, outcome
        # Rows of one file nearly always share everything but their places.
        if alike != self._alike:
            file = self._placed.number_of(row.origin.file)
            if file < 0:
                return b""
            columns = dict(read.columns)
            name = _find_or_add(row.origin.file, self._files)
            format = _find_or_add((read.format, columns), self._formats)
            kind = (file, name, format, read.source, read.merged, outcome)
            self._alike, self._kind = (*alike[:2], columns, *alike[3:]), _find_or_add(kind, self._kinds)
        return b"%d,%d,%d,%d,%d" % (at, size, row.origin.row, row.origin.line or 0, self._kind)

    def _resolve_place(self, line: bytes) -> bytes:
        """Return the line of a row, read from its place if only that is stored."""
        if line[:1] == b"[":
            return line
        at, size, row, number, kind = map(int, line.split(b","))
        file, name, format, source, merged, outcome = self._kinds[kind]
        with self._lock:
            found = None if self._file.closed else self._placed.read_bytes(file, at, size)
        values, said = _parse_object(found or b""), None
        if values is None:
            values, said, outcome = {}, [_CHANGED, ""], "dropped"
        broken = said[0] if said else ""
        origin = [name, row, number or None, ""]
        return _pack_line([origin, values, broken, said, format, source, merged, outcome, "", False])

    def _write_line(self, read: ReadRow, outcome: str, reason: str) -> bytes:
        row, problem = read.row, read.problem
        origin = [
            _find_or_add(row.origin.file, self._files),
            row.origin.row,
            row.origin.line,
            row.origin.name,
        ]
        format = _find_or_add((read.format, dict(read.columns)), self._formats)
        said = [str(problem.reason), str(problem.detail)] if problem is not None else None
        held = [
            origin,
            row.values,
            row.problem,
            said,
            format,
            read.source,
            read.merged,
            outcome,
            reason,
            False,
        ]
        line = _pack_line(held)
        if len(line) > LONGEST:
            held[1], held[-1] = _shorten_value(row.values), True
            line = _pack_line(held)
        return line

    def _write_block(self) -> None:
        block = self._packer.compress(b"\n".join(self._waiting))
        first = self.count - len(self._waiting)
        try:
            if len(self._firsts) % 64 == 0 and shutil.disk_usage(self._folder).free < _FREE + len(block):
                raise OSError
            self._file.write(block)
            self._file.flush()
        # The disk is full; the rows that are stored so far can still be read.
        except OSError:
            self.full = True
            self.count = first
            # Rows of the block that could not be written are not there, good or bad.
            while self.bad and self.bad[-1] >= first:
                self.bad.pop()
        else:
            self._firsts.append(first)
            self._places.append(self._end)
            self._end += len(block)
        self._waiting, self._waiting_bytes = [], 0

    # Reading

    def read_row(self, index: int) -> SpooledRow:
        """Read a row by its number, from 0.

        Raises:
            IndexError: it is not there (yet), or the spool was closed.
        """
        with self._lock:
            if self._file.closed or not 0 <= index < self.count:
                raise IndexError(index)
            begun = self.count - len(self._waiting)
            if index >= begun:
                line = self._waiting[index - begun]
            else:
                block = bisect.bisect_right(self._firsts, index) - 1
                line = self._get_block(block)[index - self._firsts[block]]
        return self._parse_line(self._resolve_place(line))

    def _get_block(self, number: int) -> list[bytes]:
        held = self._held.get(number)
        if held is None:
            held = self._held[number] = self._unpack_block(number).split(b"\n")
            if len(self._held) > _BLOCKS_HELD:
                self._held.popitem(last=False)
        return held

    def _unpack_block(self, number: int) -> bytes:
        start = self._places[number]
        end = self._places[number + 1] if number + 1 < len(self._places) else self._end
        if self._file.closed:
            raise IndexError(number)
        packed = os.pread(self._file.fileno(), end - start, start)
        # A new one each time, since threads must not share a decompressor.
        return zstandard.ZstdDecompressor().decompress(packed)

    def _parse_line(self, line: bytes) -> SpooledRow:
        origin, values, broken, said, format, source, merged, outcome, reason, cut = _unpack_line(line)
        name, columns = self._formats[format]
        row = Row(Origin(self._files[origin[0]], *origin[1:]), values, broken)
        read = ReadRow(row, source, format=name, columns=columns, merged=merged)
        if said is not None:
            read.problem = RowProblem(*said)
        elif name and not merged and not broken:
            try:
                read.record = find_format(name).convert_row(values, columns)
            except (RowProblem, RecursionError):
                # It was read without its media; the row itself is shown instead.
                read.record = None
        return SpooledRow(read, outcome, reason, cut)

    def find_words(
        self, words: str, start: int, step: int, said: Callable[[int], None], cancelled: Callable[[], bool]
    ) -> int | None:
        """Find the first row from `start` on, downwards (`step` 1) or upwards (-1), that contains `words`.

        Case does not matter. Only rows that are there already are searched. `said` is called now and then
        with the number of the row that the search has reached.
        """
        wanted = words.casefold()
        escaped = json.dumps(wanted, ensure_ascii=False)[1:-1]
        for first, text in self._iterate_blocks(start, step):
            said(first)
            if cancelled():
                return None
            # Whole blocks are searched first; few of them need their rows to be parsed.
            if escaped not in text.decode("utf-8", "replace").casefold():
                continue
            lines = list(enumerate(text.split(b"\n"), first))
            for index, line in lines if step > 0 else reversed(lines):
                ahead = index >= start if step > 0 else index <= start
                if ahead and _contains_words(_unpack_line(line)[1], wanted):
                    return index
        return None

    def _iterate_blocks(self, start: int, step: int) -> Iterator[tuple[int, bytes]]:
        """Yield the unpacked blocks from a row on, each with the number of its first row."""
        with self._lock:
            number = bisect.bisect_right(self._firsts, start) - 1 if self._firsts else -1
        at = number if step > 0 else min(number, len(self._firsts) - 1)
        waiting = self._waiting_text()
        if step < 0 and waiting[1] and start >= waiting[0]:
            yield waiting[0], self._whole_text(waiting[1])
        while 0 <= at < len(self._firsts):
            with self._lock:
                found = self._firsts[at], self._unpack_block(at)
            yield found[0], self._whole_text(found[1])
            at += step
        if step > 0:
            first, text = self._waiting_text()
            yield first, self._whole_text(text)

    def _whole_text(self, text: bytes) -> bytes:
        return b"\n".join(map(self._resolve_place, text.split(b"\n"))) if text else text

    def _waiting_text(self) -> tuple[int, bytes]:
        with self._lock:
            return self.count - len(self._waiting), b"\n".join(self._waiting)


def _find_or_add(what: Any, known: list[Any]) -> int:
    """Return the index of a thing in a list, to which it is added if it is new."""
    # The last one is the likeliest, and the list may be long.
    if known and known[-1] == what:
        return len(known) - 1
    try:
        return known.index(what)
    except ValueError:
        known.append(what)
        return len(known) - 1


def _parse_object(text: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _pack_line(held: list[Any]) -> bytes:
    try:
        return orjson.dumps(held, default=str, option=orjson.OPT_NON_STR_KEYS)
    # orjson refuses half of a surrogate pair and numbers of more than 64 bits; json writes them.
    except (TypeError, RecursionError):
        try:
            return json.dumps(held, default=str).encode()
        except (TypeError, ValueError, RecursionError):
            return json.dumps([*held[:1], {"": str(held[1])[:_TEXT]}, *held[2:]], default=str).encode()


def _unpack_line(line: bytes) -> list[Any]:
    try:
        found = orjson.loads(line)
    except ValueError:
        found = json.loads(line)
    return list(found)


def _shorten_value(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_TEXT]
    if isinstance(value, dict):
        return {key: _shorten_value(item) for key, item in list(value.items())[:200]}
    if isinstance(value, list):
        return [_shorten_value(item) for item in value[:200]]
    return value


def _contains_words(value: Any, wanted: str) -> bool:
    """Return whether any text in a row contains words."""
    if isinstance(value, dict):
        return any(_contains_words(item, wanted) for item in value.values())
    if isinstance(value, list):
        return any(_contains_words(item, wanted) for item in value)
    return wanted in str(value).casefold() if value is not None else False
