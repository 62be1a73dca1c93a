"""Columnar files, read by a process of its own: what they do to Arrow's native code ends that alone.

`batches` gives what `native.child` sends: small record batches of plain types, written by it after it has
checked them. The process is killed as soon as nobody wants more of them, and ends by itself with this one,
kill -9 included. After a file it waits a moment for the next, for a data set may be a thousand of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tui_tuner.data.sources.native.child import FRAME
from tui_tuner.data.sources.streams import FREE_BYTES
from tui_tuner.errors import DataError
from tui_tuner.locales import _
from tui_tuner.text import human_bytes, human_seconds, one_line

MEMORY = 384 * 1024 * 1024  # for pyarrow, a page of each column and a batch
MEMORY_RATIO = 8  # and for what a larger file may hold in one piece
MOST_ROW = 32 * 1024 * 1024
# Rows and bytes that a file may unpack to: columns of one value compress without end
FREE_ROWS, ROWS_RATIO = 200_000, 2
BYTES_RATIO = 1000
STALLED = 120.0  # seconds without an answer, the CPU idle: the child ends itself long before if it is not
REST = 1.0  # seconds that a process waits for another file
_PIPE = 1024 * 1024
_F_SETPIPE_SZ = 1031
_CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True)
class Batch:
    """A record batch, and the columns in it that hold JSON; or without one, `rows` that could not be sent."""

    batch: Any
    coded: frozenset[str]
    rows: int
    reason: str = ""


def batches(kind: str, path: Path, name: str) -> Iterator[Batch | int]:
    """What is in a file, and at last the number of rows that the file says it has.

    Args:
        kind: `parquet` or `arrow`.
        name: What to call the file.

    Raises:
        DataError: damaged, too large to unpack, or its process ended without an answer.
    """
    size = path.stat().st_size
    request = {
        "kind": kind,
        "path": os.path.abspath(path),
        "memory": MEMORY + MEMORY_RATIO * size,
        "row": MOST_ROW,
        "rows": max(FREE_ROWS, ROWS_RATIO * size),
        "bytes": max(2 * FREE_BYTES, BYTES_RATIO * size),
    }
    with _asked(request, name) as process:
        yield from _received(process, request, name)


def _received(process: _Process, request: dict[str, Any], name: str) -> Iterator[Batch | int]:
    import pyarrow

    schema: Any = None
    coded: frozenset[str] = frozenset()
    for letter, block in process.frames(name):
        if letter == b"S":
            schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(block))
            coded = frozenset(field.name for field in schema if (field.metadata or {}).get(b"json"))
        elif letter == b"B":
            batch = pyarrow.ipc.read_record_batch(pyarrow.py_buffer(block), schema)
            yield Batch(batch, coded, batch.num_rows)
        elif letter == b"P":
            found = json.loads(block)
            yield Batch(None, coded, found["rows"], found["reason"])
        elif letter == b"X":
            raise _refused(json.loads(block), request, name)
        else:
            yield int(json.loads(block))


def rows_in_parquet(paths: list[str]) -> list[int | None]:
    """The number of rows that each Parquet file says it has; None where it cannot be told."""
    counts: list[int | None] = []
    request = {"kind": "count", "paths": [os.path.abspath(path) for path in paths], "memory": MEMORY}
    with contextlib.suppress(DataError), _asked(request, "") as process:
        for letter, block in process.frames(""):
            if letter == b"N":
                counts.append(json.loads(block))
    return counts + [None] * (len(paths) - len(counts))


class _Process:
    """A process that reads one file after the other."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        environment = {
            **os.environ,
            "ARROW_DEFAULT_MEMORY_POOL": "system",  # a limit is felt in it at once
            "MALLOC_ARENA_MAX": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._lifeline, childs = _pipe()
        with childs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", str(_CHILD), str(childs.fileno())],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd=os.sep,  # nothing is imported from the folder that somebody works in
                start_new_session=True,
                pass_fds=(childs.fileno(),),
            )
        assert self._child.stdin is not None and self._child.stdout is not None
        self._in, self._out = self._child.stdin, self._child.stdout
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # more than the system allows one user
                fcntl.fcntl(self._out.fileno(), _F_SETPIPE_SZ, _PIPE)

    def ask(self, request: dict[str, Any]) -> None:
        """Begin with a file.

        Raises:
            OSError: it is gone.
        """
        block = json.dumps(request).encode() + b"\n"
        while block:
            block = block[os.write(self._in.fileno(), block) :]

    def frames(self, name: str) -> Iterator[tuple[bytes, bytearray]]:
        """Its answer, to the end.

        Raises:
            DataError: it ended before, or says nothing for long.
        """
        while True:
            letter, size = FRAME.unpack(self._read(FRAME.size, name))
            yield letter, self._read(size, name)
            if letter in (b"E", b"X"):
                return

    def _read(self, size: int, name: str) -> bytearray:
        block = bytearray(size)
        place, view = 0, memoryview(block)
        poller = select.poll()
        poller.register(self._out, select.POLLIN)
        while place < size:
            if not poller.poll(STALLED * 1000):
                self.end()
                what = _("gave nothing for {time} and was given up.", time=human_seconds(STALLED))
                hint = _("Copy it to a local disk, if it is not on one.")
                raise DataError(what, where=one_line(name), hint=hint)
            got = os.readv(self._out.fileno(), [view[place:]])
            if not got:
                raise self._died(name)
            place += got
        return block

    def _died(self, name: str) -> DataError:
        """Why it is gone, in words."""
        self.end(kill=False)
        code = self._child.returncode
        hint = _("Write it anew, with smaller row groups, or as JSONL.")
        if code == -getattr(signal, "SIGXCPU", 0):
            what = _("is too much work to read: it was given up after seconds without a row.")
        elif code is not None and code < 0:
            with contextlib.suppress(ValueError):
                code = signal.Signals(-code).name
            what = _("cannot be read: the process that read it was ended by {signal}.", signal=code)
        else:
            what = _("cannot be read: the process that read it ended with exit code {code}.", code=code)
        return DataError(what, where=one_line(name), hint=hint)

    def end(self, kill: bool = True) -> None:
        """End it, and let go of all that belongs to it."""
        if kill:
            self._child.kill()
        self._in.close()
        self._lifeline.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in a file system that does
            self._child.wait(2)
        self._out.close()


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    """The writing and the reading end of a pipe, none of them where a child has its standard streams."""
    reading, writing = os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in (writing, reading)]
    os.close(reading)
    os.close(writing)
    return open(ends[0], "wb", buffering=0), open(ends[1], "rb", buffering=0)


_resting: list[_Process] = []
_lock = threading.Lock()


@contextlib.contextmanager
def _asked(request: dict[str, Any], name: str) -> Iterator[_Process]:
    """A process that has begun with this request; it rests if it came to its end, and is killed if not."""
    process = _begun(request, name)
    try:
        yield process
    except BaseException:  # also when nobody wants more: GeneratorExit
        process.end()
        raise
    _rest(process)


def _begun(request: dict[str, Any], name: str) -> _Process:
    with _lock:
        process = _resting.pop() if _resting and _resting[-1].owner == os.getpid() else None
    if process is not None:
        try:
            process.ask(request)
            return process
        except OSError:  # it has ended meanwhile
            process.end()
    try:
        process = _Process()
        process.ask(request)
    except OSError as error:
        what = _("cannot be read: no process can be started for it ({problem}).", problem=error.strerror)
        raise DataError(what, where=one_line(name), hint=_("Close other programs, or try again.")) from None
    return process


def _rest(process: _Process) -> None:
    """Keep a process for a moment, for the next file."""

    def end() -> None:
        time.sleep(REST)
        with _lock:
            if process not in _resting:
                return
            _resting.remove(process)
        process.end()

    with _lock:
        _resting.append(process)
    threading.Thread(target=end, name="native reader", daemon=True).start()


def _refused(said: dict[str, Any], request: dict[str, Any], name: str) -> DataError:
    """What is wrong with a file, by what its process says."""
    where, text = one_line(name), one_line(str(said.get("text", "")).rstrip(".\n "), 160)
    anew = _("Write it anew, with smaller row groups, or as JSONL.")
    trust = _("Unpack it yourself if you trust it, into several files or as JSONL.")
    if said["reason"] == "rows":
        what = _(
            "holds more than {rows:,} rows, too many for its size: that is no data.", rows=request["rows"]
        )
        return DataError(what, where=where, hint=trust)
    if said["reason"] == "bytes":
        what = _(
            "unpacks to more than {limit}: that is no data, or a decompression bomb.",
            limit=human_bytes(request["bytes"]),
        )
        return DataError(what, where=where, hint=trust)
    if said["reason"] == "memory":
        what = _(
            "needs more than {limit} of memory to read a part of it.", limit=human_bytes(request["memory"])
        )
        return DataError(what, where=where, hint=anew)
    if said["reason"] == "twice":
        what = _("has two columns with the name {name}.", name=text)
        return DataError(what, where=where, hint=_("Each column needs a name of its own."))
    if said["reason"] == "missing":
        what = _("cannot be read: {problem}.", problem=text)
        return DataError(what, where=where, hint=_("Check the installation with `tui-tuner doctor`."))
    if request["kind"] == "parquet":
        what = _("is no readable Parquet: {error}.", error=text)
    else:
        what = _("is no readable Arrow file: {error}.", error=text)
    return DataError(what, where=where, hint=_("Copy or write it again: it may be damaged, or cut off."))
