"""What tells whether a model is still the same: the files of its folder, and the weights under it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tui_tuner.errors import TunerError
from tui_tuner.inference.origin import ADAPTER, BASE, Origin
from tui_tuner.inference.places import config_of, place_of
from tui_tuner.training.base_model import record_base
from tui_tuner.training.origin import sources

_FILES = ("*.safetensors", "*.bin", "*.json", "*.model", "*.jinja")


def stamp_of(origin: Origin) -> dict[str, Any]:
    """A model in plain values, with a hash of the names, sizes and times of its files.

    `base` tells the weights that are read beside them, of an adapter or a hub, wherever they lie; it is empty
    where there are none, or they are not on this machine.
    """
    fixed = origin.kind == "hub" or origin.checkpoint == BASE
    return {
        "name": origin.label,
        "kind": origin.kind,
        "path": origin.path,
        "checkpoint": origin.checkpoint,
        "revision": origin.revision,
        "files": "" if fixed else _hash_files(place_of(origin)),
        "base": _weights_under(origin),
    }


def _weights_under(origin: Origin) -> str:
    place = place_of(origin)
    whole = origin.kind == "run" and origin.checkpoint in ("best", "last") and not (place / ADAPTER).is_file()
    if whole or origin.kind == "model":
        return ""
    model = config_of(origin).model
    try:
        told, path = record_base(model).weights, sources(model)[0].path
    except TunerError:
        return ""  # loading it says what is missing
    if told or model.architecture is not None:
        return told
    return _hash_files(Path(path)) if path else ""  # weights of another format


def _hash_files(folder: Path) -> str:
    if not folder.is_dir():
        return ""
    found = sorted({path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()})
    said = []
    for path in found:
        status = path.stat()
        said.append(f"{path.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:32]
