"""Store examples on disk: flat arrays, appended while tokenising and memory-mapped while training.

A folder holds `ids.bin` and `labels.bin` (int32) of all examples one after another, `weights.bin`
(float32, parallel to the labels) if labels count differently, an array for each fact of
an example or row, one for each column that the task declares (`column.NAME.bin`), `records.bin` with the rows
as JSON, and `meta.json`, written last: a folder without it is not finished. It holds the size and the CRC-32
of every file, and its own checksum. That finds damage, not forgery (only the user can write here), and a CRC
takes a second for several GiB.

Everything is private to the user, and mapped while it is in use: a folder that is deleted meanwhile stays
readable for processes that have it open. They hold a shared lock on it, so that a clean-up can spare it.
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

_EXAMPLE = {"offset": "int64", "length": "int32", "trained": "int32", "weight": "float64", "row": "int64"}
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
WEIGHTS = "weights"


def lock_store_folder(folder: Path, exclusive: bool = False) -> int | None:
    """Lock a folder; returns the descriptor that holds the lock, or None if another process has it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    # The file system has no locks: every process may pass then.
    except OSError:
        pass
    return fd


class _ChecksummedFile:
    """A private file that is written once, and the CRC-32 of what was written."""

    def __init__(self, path: Path) -> None:
        def open_private(name: str, flags: int) -> int:
            return os.open(name, flags, 0o600)

        self._file: IO[bytes] = open(path, "wb", buffering=1 << 20, opener=open_private)  # noqa: SIM115
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
    """Appends rows and their examples to a folder. Use it as a context manager; `finish_store` makes it
    valid.

    Args:
        columns: Names of the task's columns with their numpy dtypes; each example has a value for each.
    """

    def __init__(self, folder: Path, columns: Mapping[str, str] | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = lock_store_folder(folder, exclusive=True)
        self.folder = folder
        self.columns = dict(columns or {})
        self._dtypes = {
            **_EXAMPLE,
            **_ROW,
            **{_column_file(name): kind for name, kind in self.columns.items()},
        }
        names = ("ids", "labels", "records", *self._dtypes)
        self._files = {name: _ChecksummedFile(folder / f"{name}.bin") for name in names}
        self._values: dict[str, list[Any]] = {name: [] for name in self._dtypes}
        self._names: dict[str, int] = {}
        # Opened by the first example that has some: most data sets have none.
        self._weights: _ChecksummedFile | None = None
        self._offset = 0
        self._record = 0
        self.rows = 0
        self.examples = 0

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._all_files.values():
            file.close()
        if self._lock is not None:
            os.close(self._lock)

    def add_row(
        self,
        origin: Origin,
        source: int,
        examples: Sequence[Example],
        record: Any,
        content: int,
        stratum: int = 0,
    ) -> None:
        """Add a row with its examples. `content` is a hash of its texts, `stratum` one of its label."""
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
        # The record is kept next to its tokens: samples and judges read it without the original files.
        line = orjson.dumps(record, default=str) + b"\n"
        self._files["records"].write(line)
        self._record += len(line)
        self.rows += 1
        # Lists of Python numbers take several times the memory of an array.
        if not self.rows % _TOGETHER:
            self._write_values()

    def _add_example(self, example: Example) -> None:
        put = self._values
        put["offset"].append(self._offset)
        put["length"].append(len(example))
        put["trained"].append(example.trained_tokens)
        put["weight"].append(example.label_weight)
        put["row"].append(self.rows)
        for name in self.columns:
            put[_column_file(name)].append(example.columns[name])
        self._files["ids"].write(np.ascontiguousarray(example.ids, dtype=np.int32).data)
        self._files["labels"].write(np.ascontiguousarray(example.labels, dtype=np.int32).data)
        self._add_weights(example)
        # Examples follow one another without gaps, so an offset and a length find each.
        self._offset += len(example)
        self.examples += 1

    def _add_weights(self, example: Example) -> None:
        if self._weights is None:
            if example.weights is None:
                return
            self._weights = _ChecksummedFile(self.folder / f"{WEIGHTS}.bin")
            for start in range(0, self._offset, _BLOCK):
                self._weights.write(np.ones(min(_BLOCK, self._offset - start), dtype=np.float32).data)
        weights = np.ones(len(example)) if example.weights is None else example.weights
        self._weights.write(np.ascontiguousarray(weights, dtype=np.float32).data)

    @property
    def _all_files(self) -> dict[str, _ChecksummedFile]:
        return self._files if self._weights is None else {**self._files, WEIGHTS: self._weights}

    def _write_values(self) -> None:
        for name, values in self._values.items():
            self._files[name].write(np.array(values, dtype=self._dtypes[name]).tobytes())
            values.clear()

    def finish_store(self, meta: dict[str, Any]) -> None:
        """Write everything to the disk and mark the folder as complete."""
        self._write_values()
        for file in self._all_files.values():
            file.sync()
        whole = {
            **meta,
            "rows": self.rows,
            "examples": self.examples,
            "columns": self.columns,
            "files": list(self._names),
            "sums": {name: [file.bytes, file.crc] for name, file in self._all_files.items()},
        }
        beside = _ChecksummedFile(self.folder / f"{META}.part")
        beside.write(_seal_meta(whole))
        beside.sync()
        beside.close()
        # Renaming is atomic: the file is there completely or not at all, and every other file is on the disk
        # already.
        (self.folder / f"{META}.part").replace(self.folder / META)


def _seal_meta(meta: Mapping[str, Any]) -> bytes:
    """Write the text of `meta.json`: a line with its CRC-32, and a line with the rest."""
    text = json.dumps(meta).encode()
    return b"%d\n%s\n" % (zlib.crc32(text), text)


def read_store_meta(folder: Path) -> dict[str, Any]:
    """Read `meta.json`.

    Raises:
        OSError, ValueError: it is missing, or not as it was written.
    """
    crc, _unused, text = (folder / META).read_bytes().partition(b"\n")
    text = text.removesuffix(b"\n")
    if int(crc) != zlib.crc32(text):
        raise ValueError(f"{META} was changed or damaged")
    meta = json.loads(text)
    if not isinstance(meta, dict):
        raise ValueError(f"{META} holds no mapping")
    return meta


def find_store_damage(folder: Path) -> str:
    """Find a file that is not as it was written; empty if every byte is.

    Raises:
        OSError, ValueError: as `read_store_meta`.
    """
    block = memoryview(bytearray(_BLOCK))
    for name, (size, crc) in read_store_meta(folder)["sums"].items():
        path = folder / f"{name}.bin"
        try:
            # Not through the memory map: there a sector that cannot be read ends the process (SIGBUS).
            with open(path, "rb", buffering=0) as file:
                found, count = 0, os.fstat(file.fileno()).st_size
                # A file of another size is damaged in any case and needs no reading.
                while count == size and (length := file.readinto(block)):
                    found = zlib.crc32(block[:length], found)
        except OSError:
            return path.name
        if (count, found) != (size, crc):
            return path.name
    return ""


class TokenStore:
    """A finished folder, memory-mapped. `find_store_damage` checks whether it is as it was written.

    Raises:
        OSError, ValueError, KeyError: the folder is not finished, or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = lock_store_folder(folder)
        self.meta = read_store_meta(folder)
        self.ids = self._map_file("ids", "int32")
        self.labels = self._map_file("labels", "int32")
        self.weights = self._map_file(WEIGHTS, "float32") if WEIGHTS in self.meta["sums"] else None
        self.example = {name: self._map_file(name, dtype) for name, dtype in _EXAMPLE.items()}
        self.row = {name: self._map_file(name, dtype) for name, dtype in _ROW.items()}
        self.columns = {
            name: self._map_file(_column_file(name), dtype) for name, dtype in self.meta["columns"].items()
        }
        self._records = self._map_file("records", "uint8")

    def __del__(self) -> None:
        # The attribute is missing if the constructor has failed.
        if getattr(self, "_lock", None) is not None:
            os.close(self._lock)  # type: ignore[arg-type]

    def _map_file(self, name: str, dtype: str) -> np.ndarray:
        path = self.folder / f"{name}.bin"
        # An empty file cannot be mapped.
        if not path.stat().st_size:
            return np.zeros(0, dtype=dtype)
        return np.memmap(path, dtype=dtype, mode="r")

    def read_record(self, row: int) -> Any:
        """Read the record of a row as JSON values."""
        starts = self.row["record"]
        # Records end where the next one begins.
        end = int(starts[row + 1]) if row + 1 < len(starts) else len(self._records)
        return orjson.loads(self._records[int(starts[row]) : end].tobytes())

    def row_origin(self, row: int) -> Origin:
        """Return where a row came from."""
        line = int(self.row["line"][row])
        name = self.meta["files"][int(self.row["file"][row])]
        return Origin(name, int(self.row["number"][row]), line or None)


class TokenizedRows:
    """Some examples of a store, in an order: `rows[i]` is an `Example`.

    Args:
        examples: Numbers of the store's examples; one that is used twice in an epoch is listed twice.

    `lengths` and `trained_tokens` are the tokens, and the positions with a label, of each example;
    `label_weights` are the sums of the weights of its labels, None if all labels count alike.
    """

    def __init__(self, store: TokenStore, examples: np.ndarray) -> None:
        self.store = store
        self.examples = examples
        self.lengths: np.ndarray = np.asarray(store.example["length"])[examples]
        self.trained_tokens: np.ndarray = np.asarray(store.example["trained"])[examples]
        self.label_weights: np.ndarray | None = None
        if store.weights is not None:
            self.label_weights = np.asarray(store.example["weight"])[examples]
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
        # Labels are replaced as they are read: those of a large set would not fit into memory.
        if self._labels is not None:
            labels = _replace_values(labels, *self._labels)
        weights = None if self.store.weights is None else np.asarray(self.store.weights[start:end])
        return Example(ids, labels, columns, weights)

    def renumber_values(self, numbers: Mapping[int, int], column: str | None = None) -> None:
        """Replace values of a column, or of the labels; other values stay, `IGNORE` among them.

        Args:
            numbers: {value from encoding: final value}.
        """
        old = np.array(sorted(numbers), dtype=np.int64)
        new = np.array([numbers[int(value)] for value in old], dtype=np.int64)
        if column is None:
            self._labels = (old, new)
        else:
            self.columns[column] = _replace_values(self.columns[column], old, new)

    def add_column(self, name: str, values: np.ndarray) -> None:
        """Add a computed value for each example, such as a reference model's log-probability.

        It belongs to these rows of this run, not to the store, which other runs share.

        Raises:
            DataError: the number of values differs from that of the examples.
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

    def row_of_example(self, index: int) -> int:
        """Return the number of the store's row that an example came from."""
        return int(self.store.example["row"][self.examples[index]])

    def example_origin(self, index: int) -> Origin:
        """Return where an example came from."""
        return self.store.row_origin(self.row_of_example(index))


def _column_file(name: str) -> str:
    """Name the file of a task's column, so that it never clashes with the store's own."""
    return f"column.{name}"


def _replace_values(values: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the values with `old`, which is sorted, replaced by `new`; others stay."""
    if not len(old):
        return values
    # Values above the last known one would get an index beyond the end.
    places = np.minimum(np.searchsorted(old, values), len(old) - 1)
    return np.where(old[places] == values, new[places], values).astype(values.dtype)
