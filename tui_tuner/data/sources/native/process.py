"""Read columnar files in a separate process: a file that crashes Arrow's native code ends only that process.

`read_native_batches` yields what `native.child` sends: small record batches of plain types, checked there
before they are written. The process is killed as soon as no more batches are wanted, and dies with this one
even by kill -9. After a file it waits a moment for the next one, since a data set may have a thousand of
them.
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
from tui_tuner.text import format_bytes, format_seconds, one_line

MEMORY = 384 * 1024 * 1024  # for pyarrow, a page of each column and a batch
MEMORY_RATIO = 8  # and for what a larger file may hold in one piece
MOST_ROW = 32 * 1024 * 1024
# Rows and bytes that a file may unpack to: columns of one value compress without end
FREE_ROWS, ROWS_RATIO = 200_000, 2
BYTES_RATIO = 1000
# Seconds without an answer while the CPU is idle; a busy child reaches its own limit long before that
STALLED = 120.0
REST = 1.0  # seconds that a process waits for another file
_PIPE = 1024 * 1024
_F_SETPIPE_SZ = 1031
_CHILD = Path(__file__).with_name("child.py")


@dataclass(frozen=True)
class Batch:
    """A record batch and the names of its JSON columns; or no batch, and `rows` that could not be sent."""

    batch: Any
    coded: frozenset[str]
    rows: int
    reason: str = ""


def read_native_batches(kind: str, path: Path, name: str) -> Iterator[Batch | int]:
    """Yield the batches of a file, and last the number of rows that the file says it has.

    Args:
        kind: `parquet` or `arrow`.
        name: The file as messages name it.

    Raises:
        DataError: damaged, too large to unpack, or the process ended without an answer.
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
    with _requesting_process(request, name) as process:
        yield from _receive_batches(process, request, name)


def _receive_batches(process: _ReaderProcess, request: dict[str, Any], name: str) -> Iterator[Batch | int]:
    import pyarrow

    schema: Any = None
    coded: frozenset[str] = frozenset()
    for letter, block in process.read_frames(name):
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
            raise _refusal_error(json.loads(block), request, name)
        else:
            yield int(json.loads(block))


def count_parquet_rows(paths: list[str]) -> list[int | None]:
    """Return the number of rows that each Parquet file gives; None where it cannot be read."""
    counts: list[int | None] = []
    request = {"kind": "count", "paths": [os.path.abspath(path) for path in paths], "memory": MEMORY}
    with contextlib.suppress(DataError), _requesting_process(request, "") as process:
        for letter, block in process.read_frames(""):
            if letter == b"N":
                counts.append(json.loads(block))
    # A file that crashed the process ends the answer early: the rest is unknown.
    return counts + [None] * (len(paths) - len(counts))


class _ReaderProcess:
    """A process that reads one file after the other."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        environment = {
            **os.environ,
            "ARROW_DEFAULT_MEMORY_POOL": "system",  # a limit is felt in it at once
            "MALLOC_ARENA_MAX": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._lifeline, childs = _open_pipe()
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

    def send_request(self, request: dict[str, Any]) -> None:
        """Send a request.

        Raises:
            OSError: the process has ended.
        """
        block = json.dumps(request).encode() + b"\n"
        while block:
            # The pipe is unbuffered, and a write to it may take only a part.
            block = block[os.write(self._in.fileno(), block) :]

    def read_frames(self, name: str) -> Iterator[tuple[bytes, bytearray]]:
        """Yield the frames of its answer as (letter, content).

        Raises:
            DataError: the process ended early, or sent nothing for too long.
        """
        while True:
            letter, size = FRAME.unpack(self._read_bytes(FRAME.size, name))
            yield letter, self._read_bytes(size, name)
            if letter in (b"E", b"X"):
                return

    def _read_bytes(self, size: int, name: str) -> bytearray:
        block = bytearray(size)
        place, view = 0, memoryview(block)
        poller = select.poll()
        poller.register(self._out, select.POLLIN)
        while place < size:
            if not poller.poll(STALLED * 1000):
                self.end_process()
                what = _("sent no data for {time}, so reading was stopped.", time=format_seconds(STALLED))
                hint = _("Copy it to a local disk if it is on a network drive.")
                raise DataError(what, where=one_line(name), hint=hint)
            got = os.readv(self._out.fileno(), [view[place:]])
            if not got:
                raise self._explain_death(name)
            place += got
        return block

    def _explain_death(self, name: str) -> DataError:
        self.end_process(kill=False)
        code = self._child.returncode
        hint = _("Write it again with smaller row groups, or as JSONL.")
        # The child limits its own CPU time; this is the signal with which the kernel enforces that.
        if code == -getattr(signal, "SIGXCPU", 0):
            what = _("takes too long to read: it was stopped after several seconds of work without a row.")
        elif code is not None and code < 0:
            with contextlib.suppress(ValueError):
                code = signal.Signals(-code).name
            what = _("cannot be read: the process that reads it was ended by {signal}.", signal=code)
        else:
            what = _("cannot be read: the process that reads it ended with exit code {code}.", code=code)
        return DataError(what, where=one_line(name), hint=hint)

    def end_process(self, kill: bool = True) -> None:
        """End the process and close its pipes."""
        if kill:
            self._child.kill()
        self._in.close()
        self._lifeline.close()
        # A process that waits for a hanging network drive cannot even be killed.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(2)
        self._out.close()


def _open_pipe() -> tuple[IO[bytes], IO[bytes]]:
    """Make a pipe; returns its writing and its reading end."""
    reading, writing = os.pipe()
    # From 3 upwards: a descriptor below that would be overwritten by the standard streams of the child.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in (writing, reading)]
    os.close(reading)
    os.close(writing)
    return open(ends[0], "wb", buffering=0), open(ends[1], "rb", buffering=0)


_resting: list[_ReaderProcess] = []
_lock = threading.Lock()


@contextlib.contextmanager
def _requesting_process(request: dict[str, Any], name: str) -> Iterator[_ReaderProcess]:
    """Give a process that has been sent the request; afterwards it waits for another one, or is killed."""
    process = _start_request(request, name)
    try:
        yield process
    # BaseException, for GeneratorExit comes here if the caller wants no more rows: the pipe is then full of
    # frames that the next request would read as its own.
    except BaseException:
        process.end_process()
        raise
    _keep_for_next_file(process)


def _start_request(request: dict[str, Any], name: str) -> _ReaderProcess:
    with _lock:
        # After a fork the list names processes of the parent, whose pipes must not be shared.
        process = _resting.pop() if _resting and _resting[-1].owner == os.getpid() else None
    if process is not None:
        try:
            process.send_request(request)
            return process
        except OSError:  # it has ended meanwhile
            process.end_process()
    try:
        process = _ReaderProcess()
        process.send_request(request)
    except OSError as error:
        what = _("cannot be read: no process can be started for it ({problem}).", problem=error.strerror)
        raise DataError(what, where=one_line(name), hint=_("Close other programs, or try again.")) from None
    return process


def _keep_for_next_file(process: _ReaderProcess) -> None:
    """Keep a process for a moment, for the next file."""

    def end_after_rest() -> None:
        time.sleep(REST)
        with _lock:
            # Taken for another file meanwhile; it will rest again after that.
            if process not in _resting:
                return
            _resting.remove(process)
        process.end_process()

    with _lock:
        _resting.append(process)
    threading.Thread(target=end_after_rest, name="native reader", daemon=True).start()


def _refusal_error(said: dict[str, Any], request: dict[str, Any], name: str) -> DataError:
    """Make the error for a file from the answer of its process."""
    where, text = one_line(name), one_line(str(said.get("text", "")).rstrip(".\n "), 160)
    anew = _("Write it again with smaller row groups, or as JSONL.")
    trust = _("Unpack it yourself if you trust it, into several files or as JSONL.")
    if said["reason"] == "rows":
        what = _(
            "holds more than {rows:,} rows, too many for its size: it is not data.", rows=request["rows"]
        )
        return DataError(what, where=where, hint=trust)
    if said["reason"] == "bytes":
        what = _(
            "unpacks to more than {limit}: it is not data, or it is a decompression bomb.",
            limit=format_bytes(request["bytes"]),
        )
        return DataError(what, where=where, hint=trust)
    if said["reason"] == "memory":
        what = _(
            "needs more than {limit} of memory to read a part of it.", limit=format_bytes(request["memory"])
        )
        return DataError(what, where=where, hint=anew)
    if said["reason"] == "twice":
        what = _("has two columns with the name {name}.", name=text)
        return DataError(what, where=where, hint=_("Give each column a different name."))
    if said["reason"] == "missing":
        what = _("cannot be read: {problem}.", problem=text)
        return DataError(what, where=where, hint=_("Check the installation with `tui-tuner doctor`."))
    if request["kind"] == "parquet":
        what = _("is not a readable Parquet file: {error}.", error=text)
    else:
        what = _("is not a readable Arrow file: {error}.", error=text)
    return DataError(what, where=where, hint=_("Copy or write it again: it may be damaged, or cut off."))
