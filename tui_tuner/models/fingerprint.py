"""What tells one model's weights from another's, in milliseconds: names, shapes, a little of each tensor."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

_MOST_HEADER = 100 << 20  # bytes, as the format allows
_PIECE = 128  # bytes that are read of each tensor: so many in its middle, and half of it at its beginning


def fingerprint(folder: Path) -> str:
    """A short text that is the same for the same weights, however many files hold them; empty if unknown.

    Of each tensor the name, type, shape and a few bytes count, so a model that was trained on, or another
    revision with other weights, is told apart; a whole hash would read every byte of it.
    """
    try:
        tensors = sorted(one for path in _files(folder) for one in _tensors(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return ""
    if not tensors:
        return ""
    digest = hashlib.sha256()
    for name, told, content in tensors:
        digest.update(f"{name}\0{told}\0".encode("utf-8", "surrogateescape"))
        digest.update(content)
    return digest.hexdigest()[:32]


def _files(folder: Path) -> list[Path]:
    """The files that transformers would load weights from."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / Path(str(name)).name for name in sorted(set(names))]
    return sorted(folder.glob("*.safetensors"))


def _tensors(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """(name, type and shape, some bytes) of each tensor of a file."""
    if not path.is_file():  # whoever opens a pipe waits for ever
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
            yield name, f"{told['dtype']} {told['shape']}", _some_of(file, begin, end)


def _some_of(file: BinaryIO, begin: int, end: int) -> bytes:
    fd, middle = file.fileno(), (begin + end) // 2
    first = os.pread(fd, min(_PIECE // 2, end - begin), begin)
    return first + os.pread(fd, min(_PIECE, end - middle), middle)
