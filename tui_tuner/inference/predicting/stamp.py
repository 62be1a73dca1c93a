"""What tells whether a model is still the same: the files of its folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tui_tuner.inference.origin import BASE, Origin
from tui_tuner.inference.places import place_of

_FILES = ("*.safetensors", "*.bin", "*.json", "*.model", "*.jinja")


def stamp_of(origin: Origin) -> dict[str, Any]:
    """A model in plain values, with a hash of the names, sizes and times of its files."""
    fixed = origin.kind == "hub" or origin.checkpoint == BASE
    return {
        "name": origin.label,
        "kind": origin.kind,
        "path": origin.path,
        "checkpoint": origin.checkpoint,
        "revision": origin.revision,
        "files": "" if fixed else _hash_files(place_of(origin)),
    }


def _hash_files(folder: Path) -> str:
    if not folder.is_dir():
        return ""
    found = sorted({path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()})
    said = []
    for path in found:
        status = path.stat()
        said.append(f"{path.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:32]
