"""Read Parquet and Arrow files for `native.process`, in a separate process that may crash.

This is a script, not a module of the package: started by its path with `python -P`, it imports the standard
library and pyarrow, and nothing from the working folder. Requests come as lines of JSON on standard input;
`bytes` and `rows` are the most that a file may hold, and `row` the most bytes of a row:

    {"kind": "parquet", "path": "…", "memory": bytes, "bytes": bytes, "rows": number, "row": bytes}
    {"kind": "count", "paths": ["…"], "memory": bytes}

Answers go to standard output as frames: a letter, eight bytes of length, and that many bytes.

    S  an Arrow schema of plain types; columns with the metadata `json` hold JSON as text
    B  a record batch of it, validated and small
    P  JSON: {"rows": n, "reason": "large" or "text"}: rows of this place that could not be sent
    N  JSON: the number of rows of one counted file, or null
    E  JSON: the rows that the file says it has; the request is done
    X  JSON: {"reason": "damaged", …, "text": "…"}: the file cannot be read

It ends with its parent: on Linux the kernel kills it once the other end of the pipe is closed whose number is
its argument, and elsewhere it ends when it writes and nothing reads any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Iterator
from typing import Any

FRAME = struct.Struct(">cQ")
BATCH_BYTES = 1024 * 1024  # what a pipe takes at once, so that the next batch is decoded meanwhile
BATCH_ROWS = 1024
BATCH_CELLS = 100_000  # of wide tables
METADATA_BYTES = 4 * 1024 * 1024  # of a schema
CHECKED_DEPTH = 32  # deepest nesting that is sent unchanged; Arrow's own limit for files is 64
# Seconds of CPU time without an answer, and the bytes of file that add another second
CPU_FREE, CPU_RATE = (
    3,
    2_000_000,
)


class FileRefused(Exception):
    """The file cannot be read; `reason` is known to the parent."""

    def __init__(self, reason: str, text: str = "") -> None:
        self.reason, self.text = reason, text
        super().__init__(reason, text)


class FrameSender:
    """Writes the frames of one request, and counts what it sends."""

    def __init__(self, out: int, request: dict[str, Any]) -> None:
        self._out = out
        self._request = request
        self._allowance = (
            CPU_FREE + os.path.getsize(request["path"]) // CPU_RATE if "path" in request else CPU_FREE
        )
        self._fields: list[tuple[str, bool]] = []
        self._schema: Any = None
        self.rows = self.bytes = 0
        self.extend_cpu_limit()

    def extend_cpu_limit(self) -> None:
        """Let the kernel end this process if it works too long without another answer."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        until = int(used.ru_utime + used.ru_stime + self._allowance) + 1
        with contextlib.suppress(ValueError, OSError):
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (until, hard))

    def send_frame(self, kind: bytes, *parts: Any) -> None:
        size = sum(memoryview(part).nbytes for part in parts)
        for part in (FRAME.pack(kind, size), *parts):
            view = memoryview(part).cast("B")
            while view:
                view = view[os.write(self._out, view) :]
        self.extend_cpu_limit()

    def send_json(self, kind: bytes, value: Any) -> None:
        self.send_frame(kind, json.dumps(value).encode("utf-8", "replace"))

    def send_batch(self, batch: Any) -> None:
        """Send rows in small, valid pieces; a row that cannot be sent is replaced by its reason."""
        if batch.num_rows == 0:
            return
        try:
            if batch.nbytes > BATCH_BYTES or batch.num_rows > self._limit_batch_rows(batch):
                raise MemoryError
            found = self._convert_batch(batch)
            if found.nbytes > BATCH_BYTES and found.num_rows > 1:
                raise MemoryError
            problem = ""
        except MemoryError:
            # raised above for batches that are too large, and by Arrow under the limit on memory
            if batch.num_rows > 1:
                half = min(batch.num_rows // 2, self._limit_batch_rows(batch))
                for start in range(0, batch.num_rows, half):
                    self.send_batch(batch.slice(start, half))
                return
            found, problem = self._convert_single_row(batch)
        except UnicodeError:
            if batch.num_rows > 1:
                half = batch.num_rows // 2
                self.send_batch(batch.slice(0, half))
                self.send_batch(batch.slice(half))
                return
            found, problem = None, "text"
        self._count_sent(batch.num_rows, found.nbytes if found is not None else 0)
        if problem:
            self.send_json(b"P", {"rows": batch.num_rows, "reason": problem})
        else:
            self.send_frame(b"B", found.serialize())

    def _limit_batch_rows(self, batch: Any) -> int:
        return max(1, min(BATCH_ROWS, BATCH_CELLS // max(1, batch.num_columns)))

    def _convert_single_row(self, batch: Any) -> tuple[Any, str]:
        """Return a single row, which may be large, or the reason why it is not sent."""
        if batch.nbytes > 4 * self._request["row"]:
            return None, "large"
        try:
            found = self._convert_batch(batch)
        except MemoryError:
            return None, "large"
        except UnicodeError:
            return None, "text"
        return found, "large" if found.nbytes > self._request["row"] + 4096 * batch.num_columns else ""

    def _count_sent(self, rows: int, size: int) -> None:
        self.rows += rows
        self.bytes += size
        if self.rows > self._request["rows"]:
            raise FileRefused("rows")
        if self.bytes > self._request["bytes"]:
            raise FileRefused("bytes")

    def _convert_batch(self, batch: Any) -> Any:
        """Convert a batch to plain types, and validate it.

        Raises:
            UnicodeError: a text in it is not valid UTF-8.
        """
        import pyarrow

        columns = [convert_column(column) for column in batch.columns]
        arrays = [array for array, _coded in columns]
        # One schema for all batches of a file: the parent reads it once.
        if self._schema is None:
            coded = [{"json": "1"} if coded else None for _array, coded in columns]
            fields = [
                pyarrow.field(name, array.type, metadata=more)
                for name, array, more in zip(batch.schema.names, arrays, coded, strict=True)
            ]
            self._schema = pyarrow.schema(fields, metadata=filter_metadata(batch.schema.metadata))
            self.send_frame(b"S", self._schema.serialize())
        found = pyarrow.record_batch(arrays, schema=self._schema)
        try:
            found.validate(full=True)
        except pyarrow.ArrowInvalid as error:
            # Arrow has no type of error for this; only the text differs from that for a damaged file.
            if "UTF8" in str(error):
                raise UnicodeError(str(error)) from None
            raise
        return found


def filter_metadata(metadata: Any) -> dict[bytes, bytes] | None:
    """Keep only the part of a schema's metadata that the parent reads: the names of classes."""
    written = (metadata or {}).get(b"huggingface", b"")
    return {b"huggingface": written} if 0 < len(written) <= METADATA_BYTES else None


def convert_column(array: Any) -> tuple[Any, bool]:
    """Convert a column to types that the parent reads safely; also returns whether it became JSON text."""
    from pyarrow import types

    kind = array.type
    if hasattr(kind, "storage_type"):
        return convert_column(array.storage)
    if types.is_dictionary(kind):
        return convert_column(array.dictionary_decode())
    if is_plain_type(kind):
        return array, False
    # The parent may not know the types of views, whose plain forms are one cast away.
    wanted = {"string_view": "large_string", "binary_view": "large_binary"}.get(str(kind))
    if wanted:
        return array.cast(wanted), False
    return encode_as_json(array), True


def is_plain_type(kind: Any, depth: int = 0) -> bool:
    """Return whether a type can be sent unchanged."""
    from pyarrow import types

    if depth > CHECKED_DEPTH or hasattr(kind, "storage_type") or types.is_dictionary(kind):
        return False
    if types.is_struct(kind):
        return all(is_plain_type(kind.field(place).type, depth + 1) for place in range(kind.num_fields))
    if types.is_map(kind):
        return is_plain_type(kind.key_type, depth + 1) and is_plain_type(kind.item_type, depth + 1)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return is_plain_type(kind.value_type, depth + 1)
    plain = (
        types.is_null, types.is_primitive, types.is_decimal, types.is_string, types.is_large_string,
        types.is_binary, types.is_large_binary, types.is_fixed_size_binary,
    )  # fmt: skip
    return any(check(kind) for check in plain) and not types.is_interval(kind)


def encode_as_json(array: Any) -> Any:
    """Write a column of any type as JSON: for unions, dictionaries in lists, and other rare types."""
    import pyarrow

    values = [
        json.dumps(convert_to_json_value(value), default=str) for value in map(read_arrow_scalar, array)
    ]
    return pyarrow.array(values, pyarrow.large_string())


def read_arrow_scalar(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ArithmeticError, ValueError, LookupError):
        return str(getattr(scalar, "value", None))


def convert_to_json_value(value: Any) -> Any:
    """Convert a value to one that JSON can hold."""
    # Keys with null are dropped: Arrow fills them in for every row that does not have them.
    if isinstance(value, dict):
        return {str(name): convert_to_json_value(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [convert_to_json_value(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    return value


def send_parquet_rows(path: str, send: FrameSender) -> int:
    """Send the rows of a Parquet file; returns how many it says it has."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as table:
        about = table.metadata
        check_distinct_names(table.schema_arrow.names)
        check_sent_rows(about.num_rows, send)
        for group in range(about.num_row_groups):
            part = about.row_group(group)
            check_sent_rows(part.num_rows, send)
            size = part.total_byte_size // max(1, part.num_rows)
            wanted = (
                BATCH_ROWS,
                part.num_rows,
                BATCH_BYTES // max(1, size),
                BATCH_CELLS // max(1, part.num_columns),
            )
            send_row_group(table, group, max(1, min(wanted)), send)
        return int(about.num_rows)


def check_sent_rows(rows: int, send: FrameSender) -> None:
    if rows < 0:
        raise FileRefused("damaged", "a negative number of rows")
    if rows > send._request["rows"]:
        raise FileRefused("rows")


def send_row_group(table: Any, group: int, most: int, send: FrameSender) -> None:
    """Send the rows of a row group; fewer at a time if they do not fit into memory."""
    begun = send.rows
    while True:
        done = send.rows - begun
        try:
            for batch in table.iter_batches(batch_size=most, row_groups=[group], use_threads=False):
                # A second attempt begins the group again, so rows that were sent already are skipped.
                over, done = min(done, batch.num_rows), done - min(done, batch.num_rows)
                if over < batch.num_rows:
                    send.send_batch(batch.slice(over))
            return
        except MemoryError:
            if most == 1:
                raise
            most = max(1, most // 32)


def send_arrow_rows(path: str, send: FrameSender) -> int:
    """Send the rows of an Arrow file or stream; returns how many its batches have."""
    import pyarrow
    import pyarrow.ipc

    counts = 0
    with pyarrow.memory_map(path) as source:
        try:
            table = pyarrow.ipc.open_file(source)
            schema, batches = table.schema, (table.get_batch(i) for i in range(table.num_record_batches))
        except pyarrow.ArrowInvalid:
            source.seek(0)
            batches = pyarrow.ipc.open_stream(source)
            schema = batches.schema
        check_distinct_names(schema.names)
        for batch in batches:
            check_sent_rows(batch.num_rows, send)
            # Arrow trusts the offsets in a file; without this a damaged one crashes in `slice`.
            batch.validate()
            counts += batch.num_rows
            send.send_batch(batch)
            send.extend_cpu_limit()
    return counts


def check_distinct_names(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FileRefused("twice", name)
        seen.add(name)


def send_row_counts(paths: list[str], send: FrameSender) -> None:
    """Send the number of rows that each Parquet file says it has."""
    import pyarrow.parquet

    for path in paths:
        rows = None
        with contextlib.suppress(Exception):
            rows = pyarrow.parquet.read_metadata(path).num_rows
        send.send_json(b"N", rows)


READERS = {"parquet": send_parquet_rows, "arrow": send_arrow_rows}


def answer_native_request(request: dict[str, Any], send: FrameSender) -> tuple[bytes, Any]:
    """Answer a request; returns the last frame, which gives the reason if the file cannot be read."""
    try:
        import pyarrow
    except ImportError as error:
        return b"X", {"reason": "missing", "text": str(error)}
    try:
        limit_child_memory(request["memory"])
        if request["kind"] == "count":
            send_row_counts(request["paths"], send)
            return b"E", 0
        with open_utf8_path(request["path"]) as path:
            return b"E", READERS[request["kind"]](path, send)
    except FileRefused as error:
        said = {"reason": error.reason, "text": error.text}
    except MemoryError:
        said = {"reason": "memory"}
    except (pyarrow.ArrowException, OSError, ValueError, RuntimeError, LookupError) as error:
        said = {"reason": "damaged", "text": str(error)[:2000]}
    return b"X", said


@contextlib.contextmanager
def open_utf8_path(path: str) -> Iterator[str]:
    """Give the path, or if it is not UTF-8, which Arrow refuses, another path of the same file."""
    try:
        path.encode()
    except UnicodeEncodeError:
        with open(path, "rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield path


def limit_child_memory(limit: int) -> None:
    """Make allocations fail beyond `limit` bytes (on Linux; elsewhere the system's own limits apply)."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    # A limit above the hard one would be refused, and then there would be none.
    if hard not in (resource.RLIM_INFINITY, -1):
        limit = min(limit, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def end_child_with_parent(lifeline: int) -> None:
    """Let the kernel kill this process once the other end of a pipe is closed (Linux only).

    Nothing may ever be written to that pipe: writing kills as well.
    """
    if sys.platform != "linux":
        return
    # O_ASYNC sends the signal F_SETSIG names when the pipe changes, and SIGKILL needs no thread that still
    # runs Python.
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | fcntl.FASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it was closed before
        os._exit(1)


def read_native_requests() -> Iterator[dict[str, Any]]:
    """Yield requests until standard input ends."""
    rest = b""
    while True:
        while b"\n" not in rest:
            block = os.read(0, 1 << 16)
            if not block:
                return
            rest += block
        line, rest = rest.split(b"\n", 1)
        yield json.loads(line)


def serve_native_requests() -> None:
    """Answer one request after the other, until standard input ends."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Crashes are expected here, and must not leave core files of gigabytes.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.dup(1)
    # What a library prints must not end up between frames.
    os.dup2(2, 1)
    end_child_with_parent(int(sys.argv[1]))
    for request in read_native_requests():
        send = FrameSender(out, request)
        send.send_json(*answer_native_request(request, send))


if __name__ == "__main__":
    serve_native_requests()
