"""What tells whether a model is still the same: the files of its folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tui_tuner.inference.origin import BASE, Origin
from tui_tuner.runs.store import RunFolder

_FILES = ("*.safetensors", "*.bin", "*.json", "*.model", "*.jinja")


def stamp_of(origin: Origin) -> dict[str, Any]:
    """A model in plain values, with a hash of the names, sizes and times of its files."""
    return {
        "name": origin.label,
        "kind": origin.kind,
        "path": origin.path,
        "checkpoint": origin.checkpoint,
        "revision": origin.revision,
        "files": _hash_files(_folder(origin)),
    }


def _folder(origin: Origin) -> Path | None:
    path = Path(origin.path)
    if origin.kind == "hub" or origin.checkpoint == BASE:
        return None
    if origin.kind != "run":
        return path
    folder = RunFolder(path)
    places = {"best": folder.best, "last": folder.last}
    return places.get(origin.checkpoint, folder.checkpoints / origin.checkpoint)


def _hash_files(folder: Path | None) -> str:
    if folder is None or not folder.is_dir():
        return ""
    found = sorted({path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()})
    said = []
    for path in found:
        status = path.stat()
        said.append(f"{path.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:32]
