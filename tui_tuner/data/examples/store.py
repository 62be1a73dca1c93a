"""Examples on disk: flat arrays, appended while tokenising and memory-mapped while training.

A folder holds `ids.bin` and `labels.bin` (int32) of all examples one after another, an array for each fact of
an example or row, one for each column that the task declares (`column.NAME.bin`), `records.bin` with the rows
as JSON, and `meta.json`, written last: a folder without it is not finished. It holds the size and the CRC-32
of every file, and its own: damage is what is looked for (nobody but the user may write here), and a CRC takes
a second for several GiB.

Everything is private to the user, and mapped as long as it is in use: a folder that is deleted meanwhile
stays readable for those who have it open. They hold a shared lock on it, so that who cleans up can leave it.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import orjson

from tui_tuner.data.records import Example, Origin
from tui_tuner.errors import DataError
from tui_tuner.locales import _

_EXAMPLE = {"offset": "int64", "length": "int32", "trained": "int32", "row": "int64"}
_ROW = {
    "file": "int32",
    "number": "int64",
    "line": "int64",
    "source": "int32",
    "content": "uint64",
    "stratum": "uint64",
    "record": "int64",
}
_TOGETHER = 1024  # rows whose facts are turned into arrays at once
_BLOCK = 8 << 20  # bytes
META = "meta.json"


def lock(folder: Path, exclusive: bool = False) -> int | None:
    """A lock on a folder, as the descriptor that holds it; None where somebody else's forbids it.

    A file system without locks lets everybody pass.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        pass
    return fd


class _File:
    """A file of the user's own that is written once, and the CRC-32 of what was to be in it."""

    def __init__(self, path: Path) -> None:
        def private(name: str, flags: int) -> int:
            return os.open(name, flags, 0o600)

        self._file: IO[bytes] = open(path, "wb", buffering=1 << 20, opener=private)  # noqa: SIM115
        self.bytes, self.crc = 0, 0

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.bytes += memoryview(data).nbytes
        self.crc = zlib.crc32(data, self.crc)

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class StoreWriter:
    """Appends rows and their examples to a folder. Use as a context manager; `finish` makes it valid.

    Args:
        columns: Names of the task's columns with their numpy dtypes; each example has a value for each.
    """

    def __init__(self, folder: Path, columns: Mapping[str, str] | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = lock(folder, exclusive=True)
        self.folder = folder
        self.columns = dict(columns or {})
        self._dtypes = {**_EXAMPLE, **_ROW, **{_column(name): kind for name, kind in self.columns.items()}}
        names = ("ids", "labels", "records", *self._dtypes)
        self._files = {name: _File(folder / f"{name}.bin") for name in names}
        self._values: dict[str, list[Any]] = {name: [] for name in self._dtypes}
        self._names: dict[str, int] = {}
        self._offset = 0
        self._record = 0
        self.rows = 0
        self.examples = 0

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        if self._lock is not None:
            os.close(self._lock)

    def add(
        self,
        origin: Origin,
        source: int,
        examples: Sequence[Example],
        record: Any,
        content: int,
        stratum: int = 0,
    ) -> None:
        """One row with its examples. `content` is a hash of its texts; each `stratum` is split alike."""
        for example in examples:
            self._add_example(example)
        put = self._values
        put["file"].append(self._names.setdefault(origin.file, len(self._names)))
        put["number"].append(origin.row)
        put["line"].append(origin.line or 0)
        put["source"].append(source)
        put["content"].append(content)
        put["stratum"].append(stratum)
        put["record"].append(self._record)
        line = orjson.dumps(record, default=str) + b"\n"
        self._files["records"].write(line)
        self._record += len(line)
        self.rows += 1
        if not self.rows % _TOGETHER:
            self._write_values()

    def _add_example(self, example: Example) -> None:
        put = self._values
        put["offset"].append(self._offset)
        put["length"].append(len(example))
        put["trained"].append(example.trained_tokens)
        put["row"].append(self.rows)
        for name in self.columns:
            put[_column(name)].append(example.columns[name])
        self._files["ids"].write(np.ascontiguousarray(example.ids, dtype=np.int32).data)
        self._files["labels"].write(np.ascontiguousarray(example.labels, dtype=np.int32).data)
        self._offset += len(example)
        self.examples += 1

    def _write_values(self) -> None:
        for name, values in self._values.items():
            self._files[name].write(np.array(values, dtype=self._dtypes[name]).tobytes())
            values.clear()

    def finish(self, meta: dict[str, Any]) -> None:
        """Write everything to the disk and mark the folder as whole."""
        self._write_values()
        for file in self._files.values():
            file.sync()
        whole = {
            **meta,
            "rows": self.rows,
            "examples": self.examples,
            "columns": self.columns,
            "files": list(self._names),
            "sums": {name: [file.bytes, file.crc] for name, file in self._files.items()},
        }
        beside = _File(self.folder / f"{META}.part")
        beside.write(_sealed(whole))
        beside.sync()
        beside.close()
        (self.folder / f"{META}.part").replace(self.folder / META)


def _sealed(meta: Mapping[str, Any]) -> bytes:
    """The text of `meta.json`: a line with its own CRC-32, and a line with the rest."""
    text = json.dumps(meta).encode()
    return b"%d\n%s\n" % (zlib.crc32(text), text)


def read_meta(folder: Path) -> dict[str, Any]:
    """What `meta.json` says.

    Raises:
        OSError, ValueError: there is none, or it is not as it was written.
    """
    crc, _unused, text = (folder / META).read_bytes().partition(b"\n")
    text = text.removesuffix(b"\n")
    if int(crc) != zlib.crc32(text):
        raise ValueError(f"{META} was changed or damaged")
    meta = json.loads(text)
    if not isinstance(meta, dict):
        raise ValueError(f"{META} holds no mapping")
    return meta


def find_damage(folder: Path) -> str:
    """The name of a file that is not as it was written; empty if every byte is.

    Raises:
        OSError, ValueError: as `read_meta`.
    """
    block = memoryview(bytearray(_BLOCK))
    for name, (size, crc) in read_meta(folder)["sums"].items():
        path = folder / f"{name}.bin"
        try:
            # Not through the mapping: what cannot be read there ends the process.
            with open(path, "rb", buffering=0) as file:
                found, count = 0, os.fstat(file.fileno()).st_size
                while count == size and (length := file.readinto(block)):
                    found = zlib.crc32(block[:length], found)
        except OSError:
            return path.name
        if (count, found) != (size, crc):
            return path.name
    return ""


class Store:
    """A finished folder, memory-mapped. Whether it is as it was written `find_damage` tells.

    Raises:
        OSError, ValueError, KeyError: it is not finished, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = lock(folder)
        self.meta = read_meta(folder)
        self.ids = self._map("ids", "int32")
        self.labels = self._map("labels", "int32")
        self.example = {name: self._map(name, dtype) for name, dtype in _EXAMPLE.items()}
        self.row = {name: self._map(name, dtype) for name, dtype in _ROW.items()}
        self.columns = {name: self._map(_column(name), dtype) for name, dtype in self.meta["columns"].items()}
        self._records = self._map("records", "uint8")

    def __del__(self) -> None:
        if getattr(self, "_lock", None) is not None:
            os.close(self._lock)  # type: ignore[arg-type]

    def _map(self, name: str, dtype: str) -> np.ndarray:
        path = self.folder / f"{name}.bin"
        if not path.stat().st_size:
            return np.zeros(0, dtype=dtype)
        return np.memmap(path, dtype=dtype, mode="r")

    def record(self, row: int) -> Any:
        """The row as JSON values, as it was written."""
        starts = self.row["record"]
        end = int(starts[row + 1]) if row + 1 < len(starts) else len(self._records)
        return orjson.loads(self._records[int(starts[row]) : end].tobytes())

    def origin(self, row: int) -> Origin:
        """Where a row came from."""
        line = int(self.row["line"][row])
        name = self.meta["files"][int(self.row["file"][row])]
        return Origin(name, int(self.row["number"][row]), line or None)


class TokenizedRows:
    """Some examples of a store, in an order: `rows[i]` is an `Example`.

    Args:
        examples: Numbers of the store's examples; one that is used twice in an epoch is there twice.

    `lengths` and `trained_tokens` count tokens, and positions with a label, of each example.
    """

    def __init__(self, store: Store, examples: np.ndarray) -> None:
        self.store = store
        self.examples = examples
        self.lengths: np.ndarray = np.asarray(store.example["length"])[examples]
        self.trained_tokens: np.ndarray = np.asarray(store.example["trained"])[examples]
        self.columns: dict[str, np.ndarray] = {
            name: np.asarray(values)[examples] for name, values in store.columns.items()
        }
        self._labels: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        number = self.examples[index]
        start = int(self.store.example["offset"][number])
        end = start + int(self.store.example["length"][number])
        columns = {name: values[index] for name, values in self.columns.items()}
        ids, labels = np.asarray(self.store.ids[start:end]), np.asarray(self.store.labels[start:end])
        if self._labels is not None:
            labels = _replaced(labels, *self._labels)
        return Example(ids, labels, columns)

    def renumber(self, numbers: Mapping[int, int], column: str | None = None) -> None:
        """Replace values of a column, or of labels, by these; others stay (`IGNORE` does).

        Args:
            numbers: {value that encoding gave: final value}.
        """
        old = np.array(sorted(numbers), dtype=np.int64)
        new = np.array([numbers[int(value)] for value in old], dtype=np.int64)
        if column is None:
            self._labels = (old, new)
        else:
            self.columns[column] = _replaced(self.columns[column], old, new)

    def add_column(self, name: str, values: np.ndarray) -> None:
        """A computed value for each example, such as a reference model's log-probability.

        It belongs to these rows of this run, not to the store, which other runs share.

        Raises:
            DataError: not one value an example.
        """
        if len(values) != len(self):
            what = _(
                "column {name} has {values:,} values for {examples:,} examples.",
                name=name,
                values=len(values),
                examples=len(self),
            )
            raise DataError(what)
        self.columns[name] = np.asarray(values)

    def row(self, index: int) -> int:
        """The store's row that an example came from."""
        return int(self.store.example["row"][self.examples[index]])

    def origin(self, index: int) -> Origin:
        """Where an example came from."""
        return self.store.origin(self.row(index))


def _column(name: str) -> str:
    """The file of a task's column, apart from the store's own."""
    return f"column.{name}"


def _replaced(values: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The values with `new` in the place of `old`, which is sorted; others as they are."""
    if not len(old):
        return values
    places = np.minimum(np.searchsorted(old, values), len(old) - 1)
    return np.where(old[places] == values, new[places], values).astype(values.dtype)
