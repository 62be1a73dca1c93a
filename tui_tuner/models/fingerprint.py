"""Tell one model's weights from another's within milliseconds, by names, shapes and a few bytes of each
tensor.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

_MOST_HEADER = 100 << 20  # bytes, as the format allows
_PIECE = 128  # bytes that are read of each tensor: so many in its middle, and half of it at its beginning


def fingerprint_weights(folder: Path) -> str:
    """Return a short text that is the same for the same weights, however many files hold them; empty if
    unknown.

    It covers the name, type, shape and a few bytes of each tensor, which is enough to notice further training
    or another revision; a full hash would have to read every byte.
    """
    try:
        # Sorted by name: the same weights may be split into files in another way.
        tensors = sorted(one for path in _list_weight_files(folder) for one in _read_tensors(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return ""
    if not tensors:
        return ""
    digest = hashlib.sha256()
    for name, told, content in tensors:
        digest.update(f"{name}\0{told}\0".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()[:32]


def _list_weight_files(folder: Path) -> list[Path]:
    """List the files that transformers would load weights from."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        # The index is a file from outside: only the name counts, so that it cannot point out of the folder.
        return [folder / Path(str(name)).name for name in sorted(set(names))]
    return sorted(folder.glob("*.safetensors"))


def _read_tensors(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield (name, type and shape, some bytes) of each tensor of a file."""
    # Opening a pipe would wait for a writer that never comes.
    if not path.is_file():
        raise ValueError("no file")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _MOST_HEADER:
            raise ValueError("no safetensors file")
        header: dict[str, Any] = json.loads(file.read(length))
        whole = os.fstat(file.fileno()).st_size
        for name, told in header.items():
            if name == "__metadata__":
                continue
            begin, end = (8 + length + int(place) for place in told["data_offsets"])
            if not 8 + length <= begin <= end <= whole:
                raise ValueError("a damaged safetensors file")
            yield name, f"{told['dtype']} {told['shape']}", _read_some_bytes(file, begin, end)


def _read_some_bytes(file: BinaryIO, begin: int, end: int) -> bytes:
    fd, middle = file.fileno(), (begin + end) // 2
    # The beginning alone would not do: the first rows of an embedding often belong to tokens that no
    # training touches.
    first = os.pread(fd, min(_PIECE // 2, end - begin), begin)
    return first + os.pread(fd, min(_PIECE, end - middle), middle)
