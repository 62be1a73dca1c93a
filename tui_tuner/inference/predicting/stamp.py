"""Fingerprints of models, for detecting that a model or its base has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tui_tuner.errors import TunerError
from tui_tuner.inference.model_places import build_origin_config, find_model_folder
from tui_tuner.inference.origin import ADAPTER, BASE, Origin
from tui_tuner.training.base_model import record_base_model
from tui_tuner.training.origin import find_model_sources

_FILES = ("*.safetensors", "*.bin", "*.json", "*.model", "*.jinja")


def describe_model_state(origin: Origin) -> dict[str, Any]:
    """Describe a model in plain values, with a hash of the names, sizes and times of its files.

    `base` identifies the weights of a base model or hub model, independent of their path; it is empty if
    there are none, or if they are not on this machine.
    """
    fixed = origin.kind == "hub" or origin.checkpoint == BASE
    return {
        "name": origin.display_label,
        "kind": origin.kind,
        "path": origin.path,
        "checkpoint": origin.checkpoint,
        "revision": origin.revision,
        "files": "" if fixed else _hash_files(find_model_folder(origin)),
        "base": _identify_base_weights(origin),
    }


def _identify_base_weights(origin: Origin) -> str:
    place = find_model_folder(origin)
    whole = origin.kind == "run" and origin.checkpoint in ("best", "last") and not (place / ADAPTER).is_file()
    if whole or origin.kind == "model":
        return ""
    model = build_origin_config(origin).model
    try:
        told, path = record_base_model(model).weights, find_model_sources(model)[0].path
    except TunerError:
        # Loading the model reports what is missing
        return ""
    if told or model.architecture is not None:
        return told
    # Weights in another format than safetensors have no recorded hash
    return _hash_files(Path(path)) if path else ""


def _hash_files(folder: Path) -> str:
    if not folder.is_dir():
        return ""
    found = sorted({path for pattern in _FILES for path in folder.glob(pattern) if path.is_file()})
    said = []
    for path in found:
        status = path.stat()
        # Not the contents: hashing gigabytes of weights would delay every start
        said.append(f"{path.name} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:32]
