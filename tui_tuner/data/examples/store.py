"""Tokenised rows on disk: flat arrays, appended while tokenising and memory-mapped while training.

A folder holds `ids.bin` (int32) and `trained.bin` (bool) of all pieces one after another, an array for each
fact of a piece or row, `records.bin` with the rows as JSON, and `meta.json`, written last: a folder
without it is not finished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import orjson

from tui_tuner.data.records import Origin

_PIECE = {"offset": "int64", "length": "int32", "supervised": "int32", "row": "int64"}
_ROW = {
    "file": "int32",
    "number": "int64",
    "line": "int64",
    "source": "int32",
    "content": "uint64",
    "label": "uint64",
    "record": "int64",
}
_TOGETHER = 1024  # rows whose facts are turned into arrays at once


class StoreWriter:
    """Appends rows and their pieces to a folder. Use as a context manager; `finish` makes it valid."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._files = {
            name: open(folder / f"{name}.bin", "wb", buffering=1 << 20)  # noqa: SIM115
            for name in ("ids", "trained", "records", *_PIECE, *_ROW)
        }
        self._columns: dict[str, list[int]] = {name: [] for name in (*_PIECE, *_ROW)}
        self._names: dict[str, int] = {}
        self._offset = 0
        self._record = 0
        self.rows = 0
        self.pieces = 0

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def add(
        self,
        origin: Origin,
        source: int,
        pieces: Sequence[tuple[np.ndarray, np.ndarray]],
        record: Any,
        content: int,
        label: int = 0,
    ) -> None:
        """One row with its pieces (ids, trained). `content` and `label` are hashes."""
        put = self._columns
        for ids, trained in pieces:
            put["offset"].append(self._offset)
            put["length"].append(len(ids))
            put["supervised"].append(int(np.count_nonzero(trained)))
            put["row"].append(self.rows)
            self._files["ids"].write(np.ascontiguousarray(ids, dtype=np.int32).data)
            self._files["trained"].write(np.ascontiguousarray(trained, dtype=bool).data)
            self._offset += len(ids)
            self.pieces += 1
        put["file"].append(self._names.setdefault(origin.file, len(self._names)))
        put["number"].append(origin.row)
        put["line"].append(origin.line or 0)
        put["source"].append(source)
        put["content"].append(content)
        put["label"].append(label)
        put["record"].append(self._record)
        line = orjson.dumps(record, default=str) + b"\n"
        self._files["records"].write(line)
        self._record += len(line)
        self.rows += 1
        if not self.rows % _TOGETHER:
            self._write_columns()

    def _write_columns(self) -> None:
        for name, values in self._columns.items():
            dtype = _PIECE.get(name) or _ROW[name]
            self._files[name].write(np.array(values, dtype=dtype).tobytes())
            values.clear()

    def finish(self, meta: dict[str, Any]) -> None:
        """Write everything to the disk and mark the folder as whole."""
        self._write_columns()
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        whole = {**meta, "rows": self.rows, "pieces": self.pieces, "files": list(self._names)}
        beside = self.folder / "meta.json.part"
        beside.write_text(json.dumps(whole), encoding="utf-8")
        beside.replace(self.folder / "meta.json")


class Store:
    """A finished folder, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.ids = self._map("ids", "int32")
        self.trained = self._map("trained", "bool")
        self.piece = {name: self._map(name, dtype) for name, dtype in _PIECE.items()}
        self.row = {name: self._map(name, dtype) for name, dtype in _ROW.items()}

    def _map(self, name: str, dtype: str) -> np.ndarray:
        path = self.folder / f"{name}.bin"
        if not path.stat().st_size:
            return np.zeros(0, dtype=dtype)
        return np.memmap(path, dtype=dtype, mode="r")

    def record(self, row: int) -> Any:
        """The row as JSON values, as it was written."""
        with open(self.folder / "records.bin", "rb") as file:
            file.seek(int(self.row["record"][row]))
            return orjson.loads(file.readline())

    def origin(self, row: int) -> Origin:
        """Where a row came from."""
        line = int(self.row["line"][row])
        name = self.meta["files"][int(self.row["file"][row])]
        return Origin(name, int(self.row["number"][row]), line or None)


class TokenizedRows:
    """Some pieces of a store, in an order: `rows[i]` gives (ids int32, trained bool), both of one length.

    `trained[k]` means: ids[k] is a target. `lengths` and `supervised` count tokens of each piece.
    """

    def __init__(self, store: Store, pieces: np.ndarray) -> None:
        self.store = store
        self.pieces = pieces
        self.lengths: np.ndarray = np.asarray(store.piece["length"])[pieces]
        self.supervised: np.ndarray = np.asarray(store.piece["supervised"])[pieces]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        piece = self.pieces[index]
        start = int(self.store.piece["offset"][piece])
        end = start + int(self.store.piece["length"][piece])
        return np.asarray(self.store.ids[start:end]), np.asarray(self.store.trained[start:end])

    def row(self, index: int) -> int:
        """The store's row that a piece came from."""
        return int(self.store.piece["row"][self.pieces[index]])

    def origin(self, index: int) -> Origin:
        """Where a piece came from."""
        return self.store.origin(self.row(index))
