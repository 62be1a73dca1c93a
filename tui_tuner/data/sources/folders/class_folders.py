"""Read a folder whose subfolders are classes, with one file per text, such as the IMDB film reviews."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tui_tuner.data.sources.datafile import PACKED, DataFile
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line

# Subfolders of these names are classes; others only if data.format asks for classes
_CLASSES = {"pos", "neg", "neu", "positive", "negative", "neutral", "ham", "spam", "fake", "real"}
_UNLABELLED = {"unsup", "unlabeled", "unlabelled", "unsupervised"}
_TRAINING = re.compile(r"train(?:ing)?", re.IGNORECASE)
_OTHERS = re.compile(r"test|valid|validation|dev|eval", re.IGNORECASE)
_NOT_TOLD = "auto"


def find_class_files(root: Path, told: str, notes: list[str]) -> list[DataFile]:
    """Return a data file for each text; empty if the folder has no classes.

    Args:
        told: `data.format`.
        notes: Receives what was skipped.
    """
    if told not in (_NOT_TOLD, "text_label"):
        return []
    folder = _find_training_part(root)
    classes = _find_classes(folder)
    named = [path for path in classes if path.name.lower() not in _UNLABELLED]
    if len(named) < 2:
        return []
    # Any folder may have two subfolders of texts, so without a format only well-known names are taken for
    # classes.
    if told == _NOT_TOLD and not all(path.name.lower() in _CLASSES for path in named):
        return []
    _note_left_out(root, folder, [path for path in classes if path not in named], notes)
    # Classes take turns, so that the first rows, which are previewed and checked, contain all of them.
    by_class = [_list_files(path) for path in named]
    return [file for turn in itertools.zip_longest(*by_class) for file in turn if file is not None]


def _find_training_part(root: Path) -> Path:
    """Return the subfolder for training, if the folder has several parts."""
    parts = [path for path in _list_folders(root) if _TRAINING.fullmatch(path.name)]
    return parts[0] if len(parts) == 1 and not _TRAINING.fullmatch(root.name) else root


def _find_classes(folder: Path) -> list[Path]:
    """Return the subfolders if all of them contain only texts; else nothing."""
    found = _list_folders(folder)
    for path in found:
        with os.scandir(path) as items:
            names = [item for item in items if not item.name.startswith(".")]
        if not names or any(item.is_dir() or not _is_text(item.name) for item in names):
            return []
    return found


def _list_folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as items:
        names = sorted(item.name for item in items if item.is_dir() and not item.name.startswith((".", "__")))
    return [folder / name for name in names]


def _is_text(name: str) -> bool:
    stem = name.lower()
    for suffix in PACKED:
        stem = stem.removesuffix(suffix)
    return stem.endswith((".txt", ".text"))


def _list_files(folder: Path) -> list[DataFile]:
    with os.scandir(folder) as items:
        texts = sorted((item.name, item.stat().st_size) for item in items if not item.name.startswith("."))
    return [DataFile(str(folder / name), "class", size=size, label=folder.name) for name, size in texts]


def _note_left_out(root: Path, folder: Path, unlabelled: Sequence[Path], notes: list[str]) -> None:
    for path in unlabelled:
        count = len(_list_files(path))
        notes.append(
            _n(
                "{folder} has no class, so its {count:,} text is left out.",
                "{folder} has no class, so its {count:,} texts are left out.",
                count,
                folder=one_line(path),
                count=count,
            )
        )
    held = [path for path in _list_folders(root) if folder != root and _OTHERS.fullmatch(path.name)]
    for path in held:
        notes.append(
            _(
                "{folder} looks like test or validation data and is not trained on; name it in "
                "data.validation.",
                folder=one_line(path),
            )
        )
