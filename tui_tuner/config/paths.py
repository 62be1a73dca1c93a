"""Paths in a config: looked up next to its file first, then in the working folder; absolute in a run."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tui_tuner.config.chat_templates import is_template_word
from tui_tuner.config.kinds.tasks import TASKS, TINY, TINY_NAMES
from tui_tuner.config.options import get_config_value
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.new_tokens import FILE
from tui_tuner.config.values import edit_values, set_config_path
from tui_tuner.locales import _
from tui_tuner.text import one_line

_WORDS = "model.new_tokens"
_MODEL_WORDS = ("demo", "train", TINY, *TINY_NAMES)
_DEMO = ("demo", "demo-corpus", "demo-held-out", *(kind.demo for kind in TASKS.values()))
# Fields that may hold a path, and their words that are never read as one
PATHS: dict[str, tuple[str, ...]] = {
    "model.name": _MODEL_WORDS,
    "model.tokenizer": _MODEL_WORDS,
    "model.adapter": (),
    "model.chat_template": (),
    "model.new_tokens": (),
    "data.path": _DEMO,
    "data.validation": (),
    "data.cleaning.phrases": (),
    "method.adapters": (),
}
_looked: dict[str, Path] = {}  # folder of the config, by path, for paths that were not found


def resolve_config_paths(values: dict[str, Any], folder: Path, told: Collection[str] = ()) -> list[str]:
    """Make the paths absolute, in place, that exist relative to the folder of their config.

    Args:
        values: The values in the file.
        told: Fields that `--set` changes; these stay relative to the working folder.

    Returns:
        A note for each path that also exists in the working folder.
    """
    notes: list[str] = []
    folder = folder.resolve() if ".." in folder.parts else folder.absolute()
    for field, words in PATHS.items():
        if any(one == field or one.startswith(f"{field}.") for one in told):
            continue
        value = _get_value(values, field)
        if isinstance(value, str) and not _is_name(field, value):
            set_config_path(values, field, _from_beside(value, folder, words, notes))
        elif field == _WORDS:
            # A list holds words, not files; `learn` names no file.
            if isinstance(value, dict) and isinstance(value.get(FILE), str):
                value[FILE] = _from_beside(value[FILE], folder, words, notes)
        elif isinstance(value, list):
            for place, item in enumerate(value):
                if isinstance(item, str):
                    value[place] = _from_beside(item, folder, words, notes)
                elif isinstance(item, dict) and isinstance(item.get("path"), str):
                    item["path"] = _from_beside(item["path"], folder, words, notes)
    return notes


def _is_name(field: str, value: str) -> bool:
    """Return whether a value names a chat template, which takes precedence over a file of that name."""
    return field == "model.chat_template" and is_template_word(value)


def make_paths_absolute(config: RunConfig) -> RunConfig:
    """Make relative paths that exist absolute, so that a run can be resumed from any folder."""
    changed: dict[str, Any] = {}
    for path, words in PATHS.items():
        value = get_config_value(config, path)
        if isinstance(value, str) and value not in words and not _is_name(path, value):
            changed[path] = _make_absolute(value)
    named = config.model.new_tokens
    if isinstance(named, dict) and isinstance(named.get(FILE), str):
        changed[_WORDS] = {FILE: _make_absolute(named[FILE])}
    if isinstance(config.method.adapters, list) and config.method.adapters:
        changed["method.adapters"] = [_make_absolute(name) for name in config.method.adapters]
    if isinstance(config.data.path, list):
        changed["data.path"] = [
            _make_absolute(source)
            if isinstance(source, str)
            else {**dict(source), "path": _make_absolute(source.path)}
            for source in config.data.path
        ]
    return edit_values(config, changed)


def explain_missing_path(path: str) -> str:
    """Explain a path that was not found: likely mistakes in its spelling, and where it was looked for."""
    sentences = [_as_pasted(path)]
    written = _expand_path(path)
    if written is not None and not written.is_absolute():
        places = [folder / written for folder in (_looked.get(path), Path.cwd()) if folder is not None]
        shown = [one_line(place) for place in dict.fromkeys(places)]
        if len(shown) == 2:
            sentences.append(_("Looked for {first} and {second}.", first=shown[0], second=shown[1]))
        else:
            sentences.append(_("Looked for {path}.", path=shown[0]))
    return " ".join(filter(None, sentences))


def _as_pasted(path: str) -> str:
    """Return a sentence about quotes, escapes or other oddities in a path; empty if it is plain."""
    for plain in list_path_readings(path):
        found = _expand_path(plain)
        if found is not None and os.path.exists(found):
            return _("Write it without quotes or escapes: {path}", path=one_line(plain)) + "."
    if re.match(r"[A-Za-z]:[\\/]|\\\\", path):
        return _("This is a Windows path; here, folders are separated by /, and there are no drives.")
    if any(ord(letter) < 32 for letter in path):
        return _(
            "It contains a tab or a line break: in double quotes, a backslash starts an escape sequence. "
            "Use single quotes, or /."
        )
    if re.search(r"\$\w|\$\{", path):
        return _("Environment variables are not expanded; write the full path.")
    return ""


def list_path_readings(path: str) -> Iterator[str]:
    """Yield possible readings of a pasted path: without quotes, file://, or shell backslashes."""
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
    written = _expand_path(path)
    if path in words or written is None or written.is_absolute():
        return path
    beside, here = folder / written, Path.cwd() / written
    if not _leads_somewhere(beside):
        _looked[path] = folder
        return path
    if _leads_somewhere(here) and here != beside:
        notes.append(
            _(
                "{path} exists next to the config and in the working folder; using the one next to the "
                "config: {taken}",
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


def _make_absolute(path: str) -> str:
    for reading in (path, *list_path_readings(path)):
        found = _expand_path(reading)
        if found is not None and _leads_somewhere(found):
            return str(found.absolute())
    return path


def _expand_path(path: str) -> Path | None:
    """Return a path with `~` expanded; None if the text cannot be a path."""
    if not path or "\0" in path:
        return None
    try:
        return Path(path).expanduser()
    except RuntimeError:  # `~nobody`
        return Path(path)


def _get_value(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
