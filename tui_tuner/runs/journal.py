"""Write and follow `events.jsonl`."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections import deque
from pathlib import Path

from tui_tuner.locales import _
from tui_tuner.runs.ballast import release_ballast_space
from tui_tuner.runs.events import Event, EventBody, Heartbeat, Step, Warned
from tui_tuner.runs.private_files import open_private, open_regular_file
from tui_tuner.runs.secrets import get_current_scrubber
from tui_tuner.runs.wire import decode_event_line, encode_event

MOST_WAITING = 32 << 20  # bytes of events kept in memory while the disk refuses them
LONGEST_LINE = 64 << 20  # bytes that are read for a line which does not end
_CHUNK = 1 << 20
_ONLY_NUMBERS = (Step, Heartbeat)


class JournalWriter:
    """A `EventSink` that appends to a journal: one `os.write` per event, from any thread.

    `seq` continues after what the file already holds; an incomplete last line (power failure) is closed with
    a newline first, so that the next event stays intact. `emit` never raises: if the disk refuses, events
    wait in memory and are written, in order, before the next one. If there are too many, the oldest are
    dropped and counted in `lost`, and the journal reports that. Tokens and passwords in texts are masked
    (`runs.secrets`).
    """

    def __init__(self, path: Path, run: str, rank: int = 0) -> None:
        self.path, self.run, self.rank = path, run, rank
        self.lost = 0
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._torn = _ends_torn(path)
        self._seq = read_last_seq(path) + 1
        self._fd = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def emit(self, body: EventBody) -> None:
        with self._lock:
            try:
                if isinstance(body, Heartbeat):
                    self._look_for_file()
                self._queue_event(body)
                self._write_queue()
            # A journal must never end a run.
            except Exception:
                return

    @property
    def waiting_events(self) -> int:
        """Count the events that the disk has refused so far."""
        return len(self._waiting)

    def _look_for_file(self) -> None:
        """Continue in a new file if the journal was deleted or replaced."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            there = None
        own = os.fstat(self._fd)
        if there is not None and (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino):
            return
        # Fails if the whole folder is gone; the old file then stays open and takes the events.
        fresh = open_private(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.close(self._fd)
        self._fd, self._torn = fresh, _ends_torn(self.path)
        message = _(
            "The journal was deleted or replaced while the run wrote it; the earlier events are lost."
        )
        self._queue_event(Warned("journal_replaced", message))

    def _queue_event(self, body: EventBody) -> None:
        line = self._encode_line(body)
        self._seq += 1
        # Steps hold numbers only, and are too many to search each for secrets.
        if not isinstance(body, _ONLY_NUMBERS):
            line = get_current_scrubber().mask_line(line)
        # The masked line is counted, as this is the one that is subtracted when it is written.
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        while self._waiting_bytes > MOST_WAITING and len(self._waiting) > 1:
            self._waiting_bytes -= len(self._waiting.popleft())
            self.lost += 1

    def _write_queue(self) -> None:
        if self.lost:
            message = _("{lost} events could not be written (disk full?)", lost=self.lost)
            self._write_line(self._encode_line(Warned("journal_gap", message)))
            self._seq += 1
            self.lost = 0
        while self._waiting:
            self._write_line(self._waiting[0])
            self._waiting_bytes -= len(self._waiting.popleft())

    def _encode_line(self, body: EventBody) -> bytes:
        return encode_event(Event(body, self.run, self._seq, round(time.time(), 3), self.rank))

    def _write_line(self, line: bytes) -> None:
        line = (b"\n" if self._torn else b"") + line
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            # Freeing the ballast makes room for a few hundred events, enough to report that the disk is full.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not release_ballast_space(self.path.parent):
                raise
            written = os.write(self._fd, line)
        if written:
            self._torn = written != len(line)
        if written != len(line):
            raise OSError(errno.ENOSPC, "short write")

    def sync(self) -> None:
        """Flush written events to the disk."""
        with contextlib.suppress(OSError):
            os.fsync(self._fd)

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                with contextlib.suppress(OSError):
                    self._write_queue()
                self.sync()
                os.close(self._fd)
                self._fd = -1


class JournalReader:
    """Follows a journal by byte offset. A line that has no newline yet is left for the next read.

    With `tail`, only about that many bytes at the end are read, from the first complete line in them.
    """

    def __init__(self, path: Path, tail: int | None = None) -> None:
        self.path = path
        self.offset = _line_start(path, tail) if tail else 0
        self.damaged = 0
        self._file: tuple[int, int] | None = None

    def read_events(self, limit: int | None = None) -> list[Event]:
        """Return the events since the last call, at most about `limit` bytes of them."""
        events: list[Event] = []
        for line in self.read_block(limit).splitlines():
            event = decode_event_line(line) if line.strip() else None
            if event is not None:
                events.append(event)
            elif line.strip():
                self.damaged += 1
        return events

    def read_block(self, limit: int | None = None) -> bytes:
        """Return the complete lines since the last call, at most about `limit` bytes of them."""
        try:
            with open_regular_file(self.path) as file:
                status = os.fstat(file.fileno())
                known, self._file = self._file, (status.st_dev, status.st_ino)
                if status.st_size < self.offset or known not in (None, self._file):
                    self.offset = 0  # truncated or replaced
                file.seek(self.offset)
                block = file.read(-1 if limit is None else limit)
                if limit is not None and block and b"\n" not in block:
                    # A line longer than the limit would otherwise never be complete.
                    block += file.readline(LONGEST_LINE)
                    if len(block) > LONGEST_LINE and not block.endswith(b"\n"):
                        # No event is that long: the line is skipped, one piece per call.
                        self.offset += len(block)
                        self.damaged += 1
                        return b"\n"
        except OSError:
            return b""
        whole = block.rfind(b"\n") + 1
        self.offset += whole
        return block[:whole]


def _line_start(path: Path, tail: int) -> int:
    try:
        with open_regular_file(path) as file:
            size = file.seek(0, os.SEEK_END)
            if size <= tail:
                return 0
            file.seek(size - tail)
            file.readline()
            return file.tell()
    except OSError:
        return 0


def read_last_seq(path: Path) -> int:
    """Return the highest `seq` near the end of a journal, or -1 if there is none."""
    try:
        with open_regular_file(path) as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()
            back = min(size, _CHUNK)
            while True:
                file.seek(size - back)
                seqs = [
                    event.seq for line in file.read(back).splitlines() if (event := decode_event_line(line))
                ]
                if seqs or back >= size:
                    return max(seqs, default=-1)
                # The last chunk may be one long line, or damaged.
                back = min(size, back * 4)
    except OSError:
        return -1


def _ends_torn(path: Path) -> bool:
    try:
        with open_regular_file(path) as file:
            if file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False
