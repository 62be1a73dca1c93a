"""A draft of the settings, and the file that it is kept in; beside it, its text while an editor has that."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.runs.private import open_private
from tui_tuner.ui.preferences import preferences_path

LARGEST = 1 << 20  # bytes; a larger file is none of ours
TEXT, OF_TEXT = "settings.yaml", "draft.json"  # a draft's text in an editor, and what it is a text of
_VERSION = 1


@dataclass
class Draft:
    """Values of the form, as in a YAML config, and where one was.

    Args:
        id: The name of its file; empty for one that was not kept yet.
        texts: What stands in a field and is no value, by the field.
        name: What it began as: a preset, a file, or a run.
        file: The config file that it was opened from, which saving offers.
        yaml: Its values as YAML with the comments of whoever wrote them; empty where nobody did.
        known: The `digest` of each config file as it was last read or written for this draft.
        unread: A text that was edited as YAML and has mistakes, until it is taken or thrown away.
        section: The section that was open, and `at` the field that had the focus.
        folder: The working folder, which relative paths are to be seen from.
        about: For a list of drafts: its data, task and method.
        saved: Unix seconds.
    """

    values: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    id: str = ""
    name: str = ""
    file: str = ""
    yaml: str = ""
    known: dict[str, str] = field(default_factory=dict)
    unread: str = ""
    section: str = ""
    at: str = ""
    folder: str = ""
    about: tuple[str, ...] = ()
    saved: float = 0.0

    def written(self) -> str:
        """As its file has it, without secrets."""
        from tui_tuner.runs.secrets import scrubber

        held = {
            "version": _VERSION,
            "values": self.values,
            "texts": self.texts,
            "name": self.name,
            "section": self.section,
            "at": self.at,
            "folder": self.folder,
            "about": self.about,
            "saved": self.saved,
        }
        more = {"file": self.file, "yaml": self.yaml, "known": self.known, "unread": self.unread}
        held |= {name: value for name, value in more.items() if value}
        return scrubber().text(json.dumps(held, indent=1, default=str, ensure_ascii=False))


def digest(text: str) -> str:
    """What tells one text of a file from another."""
    import hashlib

    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def drafts_folder() -> Path:
    """Where they are."""
    return preferences_path().parent / "drafts"


def read_drafts() -> list[Draft]:
    """The drafts that are kept, newest first. What cannot be read is left alone and passed over."""
    found = {}
    with contextlib.suppress(OSError):
        read = [read_draft(path) for path in drafts_folder().glob("*.json")]
        left = [_left_draft(path) for path in drafts_folder().glob(f"*/{TEXT}")]
        found = {draft.id: draft for draft in (*read, *left) if draft is not None}
    return sorted(found.values(), key=lambda draft: -draft.saved)


def _left_draft(path: Path) -> Draft | None:
    """A draft whose text was in an editor when its process was killed, as the editor has left it."""
    name = path.parent.name
    draft = None if is_alive(name) else read_draft(path.with_name(OF_TEXT))
    if draft is None:
        return None
    draft.id = name
    with contextlib.suppress(OSError):
        if path.stat().st_size <= LARGEST:
            draft.unread = path.read_text(encoding="utf-8", errors="replace")
            draft.saved = path.stat().st_mtime
    return draft


def read_draft(path: Path) -> Draft | None:
    """A draft, whatever version wrote it. What this one does not know is kept: the form shows it."""
    try:
        if path.stat().st_size > LARGEST:
            return None
        held = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        saved = float(held.get("saved") or path.stat().st_mtime)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    values, about = held.get("values"), held.get("about")
    if not isinstance(values, dict):
        return None
    return Draft(
        values=values,
        texts=_words(held.get("texts")),
        id=path.stem,
        name=str(held.get("name") or ""),
        file=str(held.get("file") or ""),
        yaml=str(held.get("yaml") or ""),
        known=_words(held.get("known")),
        unread=str(held.get("unread") or ""),
        section=str(held.get("section") or ""),
        at=str(held.get("at") or ""),
        folder=str(held.get("folder") or ""),
        about=tuple(map(str, about)) if isinstance(about, list) else (),
        saved=saved,
    )


def _words(held: Any) -> dict[str, str]:
    return {str(key): str(word) for key, word in held.items()} if isinstance(held, dict) else {}


def is_alive(name: str) -> bool:
    """Whether the process that a draft is named by is there."""
    pid = name.partition("-")[0]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def remove_draft(name: str) -> None:
    """Forget a draft."""
    with contextlib.suppress(OSError):
        path_of(name).unlink(missing_ok=True)
    if name and folder_of_text(name).is_dir():
        import shutil

        shutil.rmtree(folder_of_text(name), ignore_errors=True)


def own_name() -> str:
    return f"{os.getpid()}-{os.urandom(6).hex()}"


def path_of(name: str) -> Path:
    return drafts_folder() / f"{name}.json"


def folder_of_text(name: str) -> Path:
    return drafts_folder() / name


def in_short(values: Mapping[str, Any]) -> tuple[str, str, str]:
    """Data, task and method of a draft, in words of its own."""
    from tui_tuner.ui.form import at

    path = at(values, "data.path")
    if isinstance(path, list):
        path = path[0] if path else ""
    if isinstance(path, Mapping):
        path = path.get("path", "")
    name = os.path.basename(str(path).rstrip("/")) or str(path)
    return name, str(at(values, "task")), str(at(values, "method.kind"))


def write_whole(path: Path, text: str) -> None:
    """Write a file that nobody else may read, as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    other = path.with_suffix(".tmp")
    handle = open_private(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with open(handle, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(other, path)
