"""Find models on this machine: in the caches of the hubs, and in folders next to the working folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tui_tuner.locales import _
from tui_tuner.models.hub import ms_store
from tui_tuner.models.hub.choice import INDEX, SINGLE
from tui_tuner.models.hub.hf_store import find_cached_snapshot
from tui_tuner.models.hub.huggingface import find_huggingface_cache
from tui_tuner.models.hub.kinds import HUGGINGFACE, MODELSCOPE, LocalModel

FOLDER = "folder"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt")
_MOST_FOLDERS = 500
_MOST_INDEX = 64 << 20


def find_complete_model(name: str, revision: str | None, source: str, weights: bool = True) -> Path | None:
    """Return the folder of a hub model that is complete here, or (without `weights`) its tokenizer; else
    None.
    """
    place = (
        ms_store.find_modelscope_folder(name, revision)
        if source == MODELSCOPE
        else find_cached_snapshot(name, revision)
    )
    if place is None:
        return None
    there = (
        not describe_missing_files(place)
        if weights
        else any((place / file).is_file() for file in _TOKENIZERS)
    )
    return place if there else None


def describe_missing_files(folder: Path) -> str:
    """Return what a model folder lacks to be loadable, as text; empty if nothing."""
    if not (folder / "config.json").is_file():
        return _("no config.json")
    if (folder / SINGLE).is_file():
        return ""
    names = _list_shards(folder)
    if names is None:
        return _("no safetensors weights")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        return _("{missing} of {count} weight files are missing", missing=len(missing), count=len(names))
    return ""


def _list_shards(folder: Path) -> list[str] | None:
    """List the weight files that the index of a folder names; None if it has none."""
    path = folder / INDEX
    try:
        if path.stat().st_size > _MOST_INDEX:
            return None
        names = json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({Path(str(name)).name for name in names}) or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def list_models_on_machine(folder: Path) -> list[LocalModel]:
    """List all models on this machine, last used first."""
    found = [*_scan_hf_cache(), *_scan_modelscope(), *_scan_folders(folder)]
    return sorted(found, key=lambda one: (-one.used, one.name))


def _scan_hf_cache() -> Iterator[LocalModel]:
    for place in _list_folders(Path(find_huggingface_cache())):
        if not place.name.startswith("models--"):
            continue
        name = place.name.removeprefix("models--").replace("--", "/")
        size = sum(_file_size(path) for path in _list_files(place / "blobs"))
        revisions = sorted(_list_folders(place / "snapshots"), key=_modified_at, reverse=True)
        if not revisions:
            if size:
                yield LocalModel(
                    name,
                    HUGGINGFACE,
                    "",
                    place,
                    size,
                    False,
                    _modified_at(place / "blobs"),
                    _("an unfinished download"),
                )
            continue
        current = find_cached_snapshot(name, None) or revisions[0]
        missing = describe_missing_files(current)
        # The client's cache keeps blobs of all revisions together, so parts cannot be assigned to one of
        # them.
        if missing and any(path.name.endswith(".incomplete") for path in _list_files(place / "blobs")):
            missing = _("an unfinished download")
        # On a disk without links the client stores files in the snapshot and leaves `blobs` empty.
        size = size or sum(_file_size(path) for path in _list_files(current))
        yield LocalModel(
            name, HUGGINGFACE, current.name, current, size, not missing, _last_used(current), missing
        )


def _scan_modelscope() -> Iterator[LocalModel]:
    for name, revision, place in ms_store.list_modelscope_folders():
        missing = describe_missing_files(place)
        parts = [path for path in _list_files(place / ms_store.PARTS) if not path.name.endswith(".lock")]
        if missing and parts:
            missing = _("an unfinished download")
        size = sum(_file_size(path) for path in [*_list_files(place), *parts])
        yield LocalModel(name, MODELSCOPE, revision, place, size, not missing, _last_used(place), missing)


def _scan_folders(folder: Path) -> Iterator[LocalModel]:
    """Yield the models in a folder and one level deeper."""
    near = [folder, *_list_folders(folder)]
    # A link may point to a whole disk, or back to this folder.
    deeper = [inner for outer in near[1:] if not outer.is_symlink() for inner in _list_folders(outer)]
    for place in [*near, *deeper][:_MOST_FOLDERS]:
        if place.name.startswith(".") or not (place / "config.json").is_file():
            continue
        weights = [path for path in _list_files(place) if path.suffix == ".safetensors"]
        if not weights or not _is_model(place / "config.json"):
            continue
        missing = describe_missing_files(place)
        size = sum(_file_size(path) for path in _list_files(place))
        yield LocalModel(
            os.path.relpath(place, folder), FOLDER, "", place, size, not missing, _last_used(place), missing
        )


def _is_model(config: Path) -> bool:
    try:
        # Other programs have a config.json too, and this scan runs while a screen waits.
        if config.stat().st_size > 1 << 20:
            return False
        return "model_type" in json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _list_folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _list_files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError:
        return []


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _modified_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _last_used(folder: Path) -> float:
    """Return when a file of a folder was last read or written."""
    times = [0.0]
    for path in _list_files(folder):
        try:
            status = path.stat()
        except OSError:
            continue
        # Many disks are mounted without access times; then the last write is the best guess.
        times.append(max(status.st_atime, status.st_mtime))
    return max(times)
