"""Rows of a pass over the data, to be looked at in any order afterwards: any row, words in rows, bad rows.

Most kinds of files can only be read from their beginning, and none is held as a whole. So what a pass reads
is put, compressed, into a file without a name, gone with the process. Of rows that can be read again from
their places, such as those of JSON lines, only the places are put there. One thread adds; others look.
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
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.reading import Read
from tui_tuner.data.records import Origin, Row
from tui_tuner.locales import N_

BLOCK_ROWS, BLOCK_BYTES = 128, 256 << 10  # a block is full with either
LONGEST = 4 << 20  # bytes of a row that are kept; of a longer one each text is kept in part
_TEXT = 100_000  # characters of such a text
_FREE = 1 << 30  # bytes of the disk that are left alone
_BLOCKS_HELD = 8  # blocks that are held unpacked
_CHANGED = N_("its file has changed since its rows were counted")


@dataclass(frozen=True)
class Kept:
    """A row as it was read, and what became of it: an outcome of the ledger, and why.

    `cut`: it is too long to be kept whole.
    """

    read: Read
    outcome: str = "kept"
    reason: str = ""
    cut: bool = False

    @property
    def usable(self) -> bool:
        """Whether it can be trained on, as far as that is known without its tokens."""
        return self.outcome != "dropped"


class RowSpool:
    """`count` rows so far; `bad` are those that are of no use, by their place; `done` once all were read.

    `full`: there was no room for more rows, though there are some.
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
        self._kinds: list[tuple[int, int, int, int, bool, str]] = []  # what rows with a place have in common
        self._alike: tuple[Any, ...] = ()  # what the last of them was
        self._kind = 0  # and its number
        self._placed = PlacedFiles()
        self.count = 0
        self.bad = array("Q")
        self.done = False
        self.full = False

    @property
    def kept_bytes(self) -> int:
        """What it takes of the disk."""
        return self._end

    def close(self) -> None:
        """Give the room on the disk back."""
        with self._lock:
            self._file.close()
            self._placed.close()

    # Adding

    def add(self, read: Read, outcome: str, reason: str = "") -> None:
        """Keep a row that was read."""
        if self.full:
            return
        placed = read.row.place is not None and read.problem is None and not reason and not read.row.problem
        line = b"" if placed else self._line(read, outcome, reason)
        with self._lock:
            line = line or self._place_line(read, outcome) or self._line(read, outcome, reason)
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

    def _place_line(self, read: Read, outcome: str) -> bytes:
        """Where a row stands, instead of the row; empty where it is to be copied. It is called locked."""
        row = read.row
        at, size = row.place or (0, LONGEST)
        if size >= LONGEST or self._file.closed:
            return b""
        alike = row.origin.file, read.format, read.columns, read.source, read.merged, outcome
        if alike != self._alike:
            file = self._placed.number_of(row.origin.file)
            if file < 0:
                return b""
            columns = dict(read.columns)
            name = _number_of(row.origin.file, self._files)
            format = _number_of((read.format, columns), self._formats)
            kind = (file, name, format, read.source, read.merged, outcome)
            self._alike, self._kind = (*alike[:2], columns, *alike[3:]), _number_of(kind, self._kinds)
        return b"%d,%d,%d,%d,%d" % (at, size, row.origin.row, row.origin.line or 0, self._kind)

    def _whole(self, line: bytes) -> bytes:
        """The line of a row, read from its place where only that is known."""
        if line[:1] == b"[":
            return line
        at, size, row, number, kind = map(int, line.split(b","))
        file, name, format, source, merged, outcome = self._kinds[kind]
        with self._lock:
            found = None if self._file.closed else self._placed.read(file, at, size)
        values, said = _object(found or b""), None
        if values is None:
            values, said, outcome = {}, [_CHANGED, ""], "dropped"
        broken = said[0] if said else ""
        origin = [name, row, number or None, ""]
        return _packed([origin, values, broken, said, format, source, merged, outcome, "", False])

    def _line(self, read: Read, outcome: str, reason: str) -> bytes:
        row, problem = read.row, read.problem
        origin = [_number_of(row.origin.file, self._files), row.origin.row, row.origin.line, row.origin.name]
        format = _number_of((read.format, dict(read.columns)), self._formats)
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
        line = _packed(held)
        if len(line) > LONGEST:
            held[1], held[-1] = _shortened(row.values), True
            line = _packed(held)
        return line

    def _write_block(self) -> None:
        block = self._packer.compress(b"\n".join(self._waiting))
        first = self.count - len(self._waiting)
        try:
            if len(self._firsts) % 64 == 0 and shutil.disk_usage(self._folder).free < _FREE + len(block):
                raise OSError
            self._file.write(block)
            self._file.flush()
        except OSError:  # the disk is full: what is kept so far can be looked at
            self.full = True
            self.count = first
            while self.bad and self.bad[-1] >= first:
                self.bad.pop()
        else:
            self._firsts.append(first)
            self._places.append(self._end)
            self._end += len(block)
        self._waiting, self._waiting_bytes = [], 0

    # Looking

    def row(self, index: int) -> Kept:
        """A row, from 0.

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
                line = self._block(block)[index - self._firsts[block]]
        return self._kept(self._whole(line))

    def _block(self, number: int) -> list[bytes]:
        held = self._held.get(number)
        if held is None:
            held = self._held[number] = self._unpacked(number).split(b"\n")
            if len(self._held) > _BLOCKS_HELD:
                self._held.popitem(last=False)
        return held

    def _unpacked(self, number: int) -> bytes:
        start = self._places[number]
        end = self._places[number + 1] if number + 1 < len(self._places) else self._end
        if self._file.closed:
            raise IndexError(number)
        packed = os.pread(self._file.fileno(), end - start, start)
        return zstandard.ZstdDecompressor().decompress(packed)  # threads may not share one

    def _kept(self, line: bytes) -> Kept:
        origin, values, broken, said, format, source, merged, outcome, reason, cut = _unpack(line)
        name, columns = self._formats[format]
        row = Row(Origin(self._files[origin[0]], *origin[1:]), values, broken)
        read = Read(row, source, format=name, columns=columns, merged=merged)
        if said is not None:
            read.problem = RowProblem(*said)
        elif name and not merged and not broken:
            try:
                read.record = find_format(name).convert(values, columns)
            except (RowProblem, RecursionError):
                read.record = None  # it was read without its media: what stands in the file is shown
        return Kept(read, outcome, reason, cut)

    def find(
        self, words: str, start: int, step: int, said: Callable[[int], None], cancelled: Callable[[], bool]
    ) -> int | None:
        """The first row from `start` on, downwards (`step` 1) or upwards (-1), that holds words, in any case.

        Only rows that are there are looked at. `said` is told the row that was come to, now and then.
        """
        wanted = words.casefold()
        escaped = json.dumps(wanted, ensure_ascii=False)[1:-1]
        for first, text in self._texts(start, step):
            said(first)
            if cancelled():
                return None
            if escaped not in text.decode("utf-8", "replace").casefold():
                continue
            lines = list(enumerate(text.split(b"\n"), first))
            for index, line in lines if step > 0 else reversed(lines):
                ahead = index >= start if step > 0 else index <= start
                if ahead and _holds(_unpack(line)[1], wanted):
                    return index
        return None

    def _texts(self, start: int, step: int) -> Iterator[tuple[int, bytes]]:
        """The unpacked blocks from a row on, each with its first row."""
        with self._lock:
            number = bisect.bisect_right(self._firsts, start) - 1 if self._firsts else -1
        at = number if step > 0 else min(number, len(self._firsts) - 1)
        waiting = self._waiting_text()
        if step < 0 and waiting[1] and start >= waiting[0]:
            yield waiting[0], self._whole_text(waiting[1])
        while 0 <= at < len(self._firsts):
            with self._lock:
                found = self._firsts[at], self._unpacked(at)
            yield found[0], self._whole_text(found[1])
            at += step
        if step > 0:
            first, text = self._waiting_text()
            yield first, self._whole_text(text)

    def _whole_text(self, text: bytes) -> bytes:
        return b"\n".join(map(self._whole, text.split(b"\n"))) if text else text

    def _waiting_text(self) -> tuple[int, bytes]:
        with self._lock:
            return self.count - len(self._waiting), b"\n".join(self._waiting)


def _number_of(what: Any, known: list[Any]) -> int:
    """The place of a thing among those known, the last of which is likely the same."""
    if known and known[-1] == what:
        return len(known) - 1
    try:
        return known.index(what)
    except ValueError:
        known.append(what)
        return len(known) - 1


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _packed(held: list[Any]) -> bytes:
    try:
        return orjson.dumps(held, default=str, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, RecursionError):  # half a character, a huge number
        try:
            return json.dumps(held, default=str).encode()
        except (TypeError, ValueError, RecursionError):
            return json.dumps([*held[:1], {"": str(held[1])[:_TEXT]}, *held[2:]], default=str).encode()


def _unpack(line: bytes) -> list[Any]:
    try:
        found = orjson.loads(line)
    except ValueError:
        found = json.loads(line)
    return list(found)


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_TEXT]
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in list(value.items())[:200]}
    if isinstance(value, list):
        return [_shortened(item) for item in value[:200]]
    return value


def _holds(value: Any, wanted: str) -> bool:
    """Whether any text in a row holds words."""
    if isinstance(value, dict):
        return any(_holds(item, wanted) for item in value.values())
    if isinstance(value, list):
        return any(_holds(item, wanted) for item in value)
    return wanted in str(value).casefold() if value is not None else False
