"""A folder whose subfolders are classes, with a file for each text, as the film reviews of IMDB come."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tui_tuner.data.sources.datafile import PACKED, DataFile
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line

# Subfolders of these names are classes; others are only where data.format says that there are some
_CLASSES = {"pos", "neg", "neu", "positive", "negative", "neutral", "ham", "spam", "fake", "real"}
_UNLABELLED = {"unsup", "unlabeled", "unlabelled", "unsupervised"}
_TRAINING = re.compile(r"train(?:ing)?", re.IGNORECASE)
_OTHERS = re.compile(r"test|valid|validation|dev|eval", re.IGNORECASE)
_NOT_TOLD = "auto"


def class_files(root: Path, told: str, notes: list[str]) -> list[DataFile]:
    """A data file for each text, classes in turn, so that the first rows have all; empty if there are none.

    Args:
        told: `data.format`.
        notes: Gets what was passed over.
    """
    if told not in (_NOT_TOLD, "text_label"):
        return []
    folder = _training_part(root)
    classes = _classes_in(folder)
    named = [path for path in classes if path.name.lower() not in _UNLABELLED]
    if len(named) < 2:
        return []
    if told == _NOT_TOLD and not all(path.name.lower() in _CLASSES for path in named):
        return []
    _note(root, folder, [path for path in classes if path not in named], notes)
    by_class = [_files_of(path) for path in named]
    return [file for turn in itertools.zip_longest(*by_class) for file in turn if file is not None]


def _training_part(root: Path) -> Path:
    """The part of a distribution that is trained on, where it has several."""
    parts = [path for path in _folders(root) if _TRAINING.fullmatch(path.name)]
    return parts[0] if len(parts) == 1 and not _TRAINING.fullmatch(root.name) else root


def _classes_in(folder: Path) -> list[Path]:
    """Subfolders that hold nothing but texts, or nothing at all if any holds something else."""
    found = _folders(folder)
    for path in found:
        with os.scandir(path) as items:
            names = [item for item in items if not item.name.startswith(".")]
        if not names or any(item.is_dir() or not _is_text(item.name) for item in names):
            return []
    return found


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as items:
        names = sorted(item.name for item in items if item.is_dir() and not item.name.startswith((".", "__")))
    return [folder / name for name in names]


def _is_text(name: str) -> bool:
    stem = name.lower()
    for suffix in PACKED:
        stem = stem.removesuffix(suffix)
    return stem.endswith((".txt", ".text"))


def _files_of(folder: Path) -> list[DataFile]:
    with os.scandir(folder) as items:
        texts = sorted((item.name, item.stat().st_size) for item in items if not item.name.startswith("."))
    return [DataFile(str(folder / name), "class", size=size, label=folder.name) for name, size in texts]


def _note(root: Path, folder: Path, unlabelled: Sequence[Path], notes: list[str]) -> None:
    for path in unlabelled:
        count = len(_files_of(path))
        notes.append(
            _n(
                "{folder} has no class, so its {count:,} text is left out.",
                "{folder} has no class, so its {count:,} texts are left out.",
                count,
                folder=one_line(path),
                count=count,
            )
        )
    held = [path for path in _folders(root) if folder != root and _OTHERS.fullmatch(path.name)]
    for path in held:
        notes.append(
            _(
                "{folder} looks like test or validation data and is not trained on; name it in "
                "data.validation.",
                folder=one_line(path),
            )
        )
