"""The folders that are served: a model as it is, an adapter merged once, or an adapter beside its base."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tui_tuner import __version__
from tui_tuner.errors import UsageError
from tui_tuner.exporting.checkpoints import is_checkpoint
from tui_tuner.exporting.exporting import export_model
from tui_tuner.exporting.source import Source, open_source
from tui_tuner.exporting.target import ExportOptions
from tui_tuner.inference.origin import BASE, Origin
from tui_tuner.locales import _
from tui_tuner.text import one_line

_HIGHEST_RANK = 512  # of an adapter, in vLLM


@dataclass(frozen=True)
class ServedModel:
    """A model of a server.

    Args:
        name: What clients call it.
        folder: Where its files are.
        rank: Of an adapter, the largest of its ranks.
        base: Of an adapter, the folder of its base model.
    """

    name: str
    folder: Path
    rank: int = 0
    base: Path | None = None


def name_models(origins: Sequence[Origin]) -> list[str]:
    """Return what clients call each model: the last part of its name, numbered where two have the same."""
    found: list[str] = []
    for origin in origins:
        last = origin.name.rstrip("/").rpartition("/")[2] if os.path.isabs(origin.path) else origin.name
        name = re.sub(r"[^A-Za-z0-9._/-]+", "-", last).strip("-/.") or "model"
        if origin.checkpoint.startswith("step-") or origin.checkpoint == BASE:
            name = f"{name}-{origin.checkpoint}"
        if origin.checkpoint == "last" and name in found:
            name = f"{name}-last"
        number, unique = 1, name
        while unique in found:
            number += 1
            unique = f"{name}-{number}"
        found.append(unique)
    return found


def prepare_whole(origin: Origin, name: str, say: Callable[[dict[str, Any]], None]) -> ServedModel:
    """Return a folder with a whole model: its own, or one that its adapter was merged into.

    Raises:
        TunerError: it cannot be merged, or there is no room.
    """
    if not is_checkpoint(origin):
        source = open_source(origin)
        if source.adapter is None and Path(source.tokenizer_source) == source.weights:
            return ServedModel(name, source.weights)
    else:
        source = None
    place = _find_cache() / _digest_origin(origin, source)
    if not (place / "config.json").is_file():
        say(
            {
                "note": _(
                    "merging {name} for serving, once, into {folder}", name=name, folder=one_line(place, 300)
                )
            }
        )
        export_model(origin, ExportOptions("merged", str(place), parity=False), say)
    return ServedModel(name, place)


def prepare_adapter(origin: Origin, name: str) -> ServedModel | None:
    """Return the folder of an adapter that vLLM puts onto its base by itself; None if it cannot."""
    if is_checkpoint(origin) or origin.kind not in ("run", "adapter") or origin.checkpoint == BASE:
        return None
    source = open_source(origin)
    if source.adapter is None or source.stored is None:
        return None
    told = source.stored.settings
    fits = (
        str(told.get("peft_type") or "").upper() == "LORA"
        and not told.get("use_dora")
        and not told.get("modules_to_save")
        and not told.get("target_parameters")
        and not source.stored.whole_tensors
        and not source.below
        and str(told.get("bias") or "none") == "none"
    )
    rank = max([int(told.get("r") or 0), *map(int, (told.get("rank_pattern") or {}).values())])
    if not fits or not 0 < rank <= _HIGHEST_RANK:
        return None
    return ServedModel(name, source.adapter, rank, source.weights)


def check_one_base(adapters: Sequence[ServedModel]) -> Path:
    """Return the base model of several adapters.

    Raises:
        UsageError: they have different ones.
    """
    bases = {adapter.base for adapter in adapters if adapter.base is not None}
    if len(bases) == 1:
        return bases.pop()
    raise UsageError(
        _("several results are served together only if they are adapters of one base model."),
        where="serve",
        hint=_("These have: {bases}.", bases=one_line(", ".join(sorted(map(str, bases))), 300)),
    )


def name_base(folder: Path, taken: Sequence[str]) -> str:
    """Return what clients call the base model of adapters."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name) or BASE
    return name if name not in taken else f"{name}-{BASE}"


def _find_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home) / "tui-tuner" / "served"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _digest_origin(origin: Origin, source: Source | None) -> str:
    """Return a name that changes with the files that a merged model is made of."""
    folders = [Path(origin.path)] if source is None else [source.folder, source.weights, *source.below]
    told: list[Any] = [__version__, replace(origin, name="").list_origin_values()]
    for folder in folders:
        for path in sorted(folder.iterdir() if folder.is_dir() else ()):
            if path.is_file() and path.suffix in (".json", ".safetensors", ".jinja"):
                status = path.stat()
                told.append((str(path), status.st_size, status.st_mtime_ns))
    if source is None:
        step = Path(origin.path) / "checkpoints" / origin.checkpoint
        told += sorted((path.name, path.stat().st_mtime_ns) for path in step.iterdir() if path.is_file())
    digest = hashlib.blake2b(json.dumps(told, default=str).encode(), digest_size=8).hexdigest()
    return f"{re.sub('[^A-Za-z0-9._-]+', '-', Path(origin.name).name)[:40]}-{digest}"
