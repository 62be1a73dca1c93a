"""Models on this machine: in the caches of the hubs, and in folders next to the working one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tui_tuner.locales import _
from tui_tuner.models.hub import ms_store
from tui_tuner.models.hub.choice import INDEX, SINGLE
from tui_tuner.models.hub.hf_store import snapshot
from tui_tuner.models.hub.huggingface import cache_folder
from tui_tuner.models.hub.kinds import HUGGINGFACE, MODELSCOPE, LocalModel

FOLDER = "folder"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt")
_MOST_FOLDERS = 500
_MOST_INDEX = 64 << 20


def find(name: str, revision: str | None, source: str, weights: bool = True) -> Path | None:
    """The folder of a hub model that is here whole, or (without `weights`) its tokenizer; else None."""
    place = ms_store.folder_of(name, revision) if source == MODELSCOPE else snapshot(name, revision)
    if place is None:
        return None
    there = not lacks(place) if weights else any((place / file).is_file() for file in _TOKENIZERS)
    return place if there else None


def lacks(folder: Path) -> str:
    """What a model folder lacks to be loaded, in words; empty if nothing."""
    if not (folder / "config.json").is_file():
        return _("no config.json")
    if (folder / SINGLE).is_file():
        return ""
    names = _shards(folder)
    if names is None:
        return _("no safetensors weights")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        return _("{missing} of {count} weight files are not here", missing=len(missing), count=len(names))
    return ""


def _shards(folder: Path) -> list[str] | None:
    """The weight files that the index of a folder names; None if it has none."""
    path = folder / INDEX
    try:
        if path.stat().st_size > _MOST_INDEX:
            return None
        names = json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()
        return sorted({Path(str(name)).name for name in names}) or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def local_models(folder: Path) -> list[LocalModel]:
    """All of them, last used first."""
    found = [*_in_cache(), *_of_modelscope(), *_in_folders(folder)]
    return sorted(found, key=lambda one: (-one.used, one.name))


def _in_cache() -> Iterator[LocalModel]:
    for place in _folders(Path(cache_folder())):
        if not place.name.startswith("models--"):
            continue
        name = place.name.removeprefix("models--").replace("--", "/")
        size = sum(_size(path) for path in _files(place / "blobs"))
        revisions = sorted(_folders(place / "snapshots"), key=_changed, reverse=True)
        if not revisions:
            if size:
                yield LocalModel(
                    name,
                    HUGGINGFACE,
                    "",
                    place,
                    size,
                    False,
                    _changed(place / "blobs"),
                    _("a fetch that did not end"),
                )
            continue
        current = snapshot(name, None) or revisions[0]
        missing = lacks(current)
        if missing and any(path.name.endswith(".incomplete") for path in _files(place / "blobs")):
            missing = _("a fetch that did not end")
        size = size or sum(_size(path) for path in _files(current))  # a disk without links has no blobs
        yield LocalModel(name, HUGGINGFACE, current.name, current, size, not missing, _used(current), missing)


def _of_modelscope() -> Iterator[LocalModel]:
    for name, revision, place in ms_store.all_folders():
        missing = lacks(place)
        parts = [path for path in _files(place / ms_store.PARTS) if not path.name.endswith(".lock")]
        if missing and parts:
            missing = _("a fetch that did not end")
        size = sum(_size(path) for path in [*_files(place), *parts])
        yield LocalModel(name, MODELSCOPE, revision, place, size, not missing, _used(place), missing)


def _in_folders(folder: Path) -> Iterator[LocalModel]:
    """Folders of models in a folder, and one step deeper."""
    near = [folder, *_folders(folder)]
    deeper = [inner for outer in near[1:] if not outer.is_symlink() for inner in _folders(outer)]
    for place in [*near, *deeper][:_MOST_FOLDERS]:
        if place.name.startswith(".") or not (place / "config.json").is_file():
            continue
        weights = [path for path in _files(place) if path.suffix == ".safetensors"]
        if not weights or not _is_model(place / "config.json"):
            continue
        missing = lacks(place)
        size = sum(_size(path) for path in _files(place))
        yield LocalModel(
            os.path.relpath(place, folder), FOLDER, "", place, size, not missing, _used(place), missing
        )


def _is_model(config: Path) -> bool:
    try:
        if config.stat().st_size > 1 << 20:
            return False
        return "model_type" in json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _used(folder: Path) -> float:
    """When a file of a folder was read or written last."""
    times = [0.0]
    for path in _files(folder):
        try:
            status = path.stat()
        except OSError:
            continue
        times.append(max(status.st_atime, status.st_mtime))
    return max(times)
