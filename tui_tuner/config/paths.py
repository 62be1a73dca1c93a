"""Paths in a config: looked for next to its file first, then in the working folder; absolute in a run."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tui_tuner.config.chat_templates import is_template_word
from tui_tuner.config.kinds import TASKS, TINY, TINY_NAMES
from tui_tuner.config.options import get_value
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import set_path, with_values
from tui_tuner.locales import _
from tui_tuner.text import one_line

_MODEL_WORDS = ("demo", "train", TINY, *TINY_NAMES)
_DEMO = ("demo", "demo-corpus", "demo-held-out", *(kind.demo for kind in TASKS.values()))
# Fields that may hold a path, and the words that are never one
PATHS: dict[str, tuple[str, ...]] = {
    "model.name": _MODEL_WORDS,
    "model.tokenizer": _MODEL_WORDS,
    "model.chat_template": (),
    "data.path": _DEMO,
    "data.validation": (),
    "data.cleaning.phrases": (),
}
_looked: dict[str, Path] = {}  # of paths that were in no place: the folder of the config that they stood in


def take_from_beside(values: dict[str, Any], folder: Path, told: Collection[str] = ()) -> list[str]:
    """Make paths absolute, in place, that lead somewhere from the folder of their config.

    Args:
        values: What stands in the file.
        told: Fields that `--set` changes: these stay relative to the working folder.

    Returns:
        A sentence for each path that leads somewhere from the working folder too.
    """
    notes: list[str] = []
    folder = folder.resolve() if ".." in folder.parts else folder.absolute()
    for field, words in PATHS.items():
        if any(one == field or one.startswith(f"{field}.") for one in told):
            continue
        value = _get(values, field)
        if isinstance(value, str) and not _is_name(field, value):
            set_path(values, field, _from_beside(value, folder, words, notes))
        elif isinstance(value, list):
            for place, item in enumerate(value):
                if isinstance(item, str):
                    value[place] = _from_beside(item, folder, words, notes)
                elif isinstance(item, dict) and isinstance(item.get("path"), str):
                    item["path"] = _from_beside(item["path"], folder, words, notes)
    return notes


def _is_name(field: str, value: str) -> bool:
    """Whether a value is the name of a chat template; a name wins over a file of the same name."""
    return field == "model.chat_template" and is_template_word(value)


def absolute_paths(config: RunConfig) -> RunConfig:
    """The config with relative paths that exist made absolute: a run may be resumed from another folder."""
    changed: dict[str, Any] = {}
    for path, words in PATHS.items():
        value = get_value(config, path)
        if isinstance(value, str) and value not in words and not _is_name(path, value):
            changed[path] = _absolute(value)
    if isinstance(config.data.path, list):
        changed["data.path"] = [
            _absolute(source) if isinstance(source, str) else {**dict(source), "path": _absolute(source.path)}
            for source in config.data.path
        ]
    return with_values(config, changed)


def where_looked(path: str) -> str:
    """Where a path was looked for that leads nowhere, and what may be wrong with how it is written."""
    sentences = [_as_pasted(path)]
    written = _expanded(path)
    if written is not None and not written.is_absolute():
        places = [folder / written for folder in (_looked.get(path), Path.cwd()) if folder is not None]
        shown = [one_line(place) for place in dict.fromkeys(places)]
        if len(shown) == 2:
            sentences.append(_("Looked for {first} and {second}.", first=shown[0], second=shown[1]))
        else:
            sentences.append(_("Looked for {path}.", path=shown[0]))
    return " ".join(filter(None, sentences))


def _as_pasted(path: str) -> str:
    """What is wrong with a path as it is written, in a sentence; empty if nothing is."""
    for plain in plainer(path):
        found = _expanded(plain)
        if found is not None and os.path.exists(found):
            return _("Write it plainly: {path}", path=one_line(plain)) + "."
    if re.match(r"[A-Za-z]:[\\/]|\\\\", path):
        return _("This is a path of Windows; here folders are separated by /, and there are no drives.")
    if any(ord(letter) < 32 for letter in path):
        return _(
            "It holds a tab or a line break: in double quotes a backslash begins one. Use single "
            "quotes, or /."
        )
    if re.search(r"\$\w|\$\{", path):
        return _("Variables of the environment are not filled in: write the path itself.")
    return ""


def plainer(path: str) -> Iterator[str]:
    """What a pasted path may mean: without quotes, file://, or the backslashes of a shell or of Windows."""
    bare = path.strip()
    yield bare
    if len(bare) > 2 and bare[0] + bare[-1] in ("''", '""', "``", "‘’", "“”", "«»"):
        bare = bare[1:-1].strip()
        yield bare
    if bare.lower().startswith("file:"):
        bare = unquote(re.sub(r"^file:(?://(?:localhost)?(?=/))?", "", bare, flags=re.IGNORECASE))
        yield bare
    if "\\" in bare:
        yield re.sub(r"\\(.)", r"\1", bare)
        yield bare.replace("\\", "/")


def _from_beside(path: str, folder: Path, words: tuple[str, ...], notes: list[str]) -> str:
    written = _expanded(path)
    if path in words or written is None or written.is_absolute():
        return path
    beside, here = folder / written, Path.cwd() / written
    if not _leads_somewhere(beside):
        _looked[path] = folder
        return path
    if _leads_somewhere(here) and here != beside:
        notes.append(
            _(
                "{path} is next to the config and in the working folder; the one next to the config is "
                "taken: {taken}",
                path=one_line(path),
                taken=one_line(beside),
            )
        )
    return str(beside)


def _leads_somewhere(path: Path) -> bool:
    try:
        if path.exists():
            return True
    except (OSError, ValueError):
        return False
    return glob.has_magic(str(path)) and next(glob.iglob(str(path), recursive=True), None) is not None


def _absolute(path: str) -> str:
    for reading in (path, *plainer(path)):
        found = _expanded(reading)
        if found is not None and _leads_somewhere(found):
            return str(found.absolute())
    return path


def _expanded(path: str) -> Path | None:
    """A path with its `~`; None for what cannot be one."""
    if not path or "\0" in path:
        return None
    try:
        return Path(path).expanduser()
    except RuntimeError:  # `~nobody`
        return Path(path)


def _get(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
