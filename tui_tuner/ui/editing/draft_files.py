"""Drafts of settings and their files; next to a draft, its text while an external editor has it open."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui_tuner.runs.private_files import open_private
from tui_tuner.ui.preferences import find_preferences_path

LARGEST = 1 << 20  # bytes; a larger file is not ours
TEXT, OF_TEXT = "settings.yaml", "draft.json"  # a draft's text in an editor, and the draft that it belongs to
_VERSION = 1


@dataclass
class Draft:
    """Values of the form, as in a YAML config, and the user's place in it.

    Args:
        id: The name of its file; empty if it was not saved yet.
        texts: Texts of fields that are not valid values, by field.
        name: Its origin: a preset, a file, or a run.
        file: The config file that it was opened from, which saving offers.
        yaml: Its values as YAML with the user's comments; empty if there is no such text.
        known: The `hash_draft_text` of each config file as it was last read or written for this draft.
        unread: A text edited as YAML that has mistakes, until it is accepted or discarded.
        section: The section that was open, and `at` the field that had the focus.
        folder: The working folder, to which relative paths refer.
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

    def dump_text(self) -> str:
        """Return the content of its file, without secrets."""
        from tui_tuner.runs.secrets import get_current_scrubber

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
        return get_current_scrubber().mask_text(json.dumps(held, indent=1, default=str, ensure_ascii=False))


def hash_draft_text(text: str) -> str:
    """Return a hash that changes with the text."""
    import hashlib

    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def find_drafts_folder() -> Path:
    """Return the folder of all drafts."""
    return find_preferences_path().parent / "drafts"


def read_drafts() -> list[Draft]:
    """Read the saved drafts, newest first. Unreadable files are skipped and left alone."""
    found = {}
    with contextlib.suppress(OSError):
        read = [read_draft(path) for path in find_drafts_folder().glob("*.json")]
        left = [_left_draft(path) for path in find_drafts_folder().glob(f"*/{TEXT}")]
        # A text left by an editor is newer than the draft of the same name, so it comes last.
        found = {draft.id: draft for draft in (*read, *left) if draft is not None}
    return sorted(found.values(), key=lambda draft: -draft.saved)


def _left_draft(path: Path) -> Draft | None:
    """Return a draft whose process was killed while an editor had its text, with that text."""
    name = path.parent.name
    # While its process lives, an editor is still open, and the text is not left behind.
    draft = None if is_draft_owner_alive(name) else read_draft(path.with_name(OF_TEXT))
    if draft is None:
        return None
    draft.id = name
    with contextlib.suppress(OSError):
        if path.stat().st_size <= LARGEST:
            draft.unread = path.read_text(encoding="utf-8", errors="replace")
            draft.saved = path.stat().st_mtime
    return draft


def read_draft(path: Path) -> Draft | None:
    """Read a draft of any version. Values that this version does not know are kept and shown by the form."""
    try:
        if path.stat().st_size > LARGEST:
            return None
        held = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        saved = float(held.get("saved") or path.stat().st_mtime)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    # The file may be damaged or edited by hand: each part is checked by its type.
    values, about = held.get("values"), held.get("about")
    if not isinstance(values, dict):
        return None
    return Draft(
        values=values,
        texts=_keep_texts(held.get("texts")),
        id=path.stem,
        name=str(held.get("name") or ""),
        file=str(held.get("file") or ""),
        yaml=str(held.get("yaml") or ""),
        known=_keep_texts(held.get("known")),
        unread=str(held.get("unread") or ""),
        section=str(held.get("section") or ""),
        at=str(held.get("at") or ""),
        folder=str(held.get("folder") or ""),
        about=tuple(map(str, about)) if isinstance(about, list) else (),
        saved=saved,
    )


def _keep_texts(held: Any) -> dict[str, str]:
    return {str(key): str(word) for key, word in held.items()} if isinstance(held, dict) else {}


def is_draft_owner_alive(name: str) -> bool:
    """Return whether the process is running whose id begins the draft's name."""
    pid = name.partition("-")[0]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    # Signal 0 only checks; a process of another user exists as well.
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def remove_draft(name: str) -> None:
    """Delete a draft's file and the folder of its text."""
    with contextlib.suppress(OSError):
        find_draft_path(name).unlink(missing_ok=True)
    if name and find_draft_text_folder(name).is_dir():
        import shutil

        shutil.rmtree(find_draft_text_folder(name), ignore_errors=True)


def make_draft_name() -> str:
    return f"{os.getpid()}-{os.urandom(6).hex()}"


def find_draft_path(name: str) -> Path:
    return find_drafts_folder() / f"{name}.json"


def find_draft_text_folder(name: str) -> Path:
    return find_drafts_folder() / name


def summarise_draft(values: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return data, task and method of a draft, for a list of drafts."""
    from tui_tuner.ui.form_values import find_draft_value

    path = find_draft_value(values, "data.path")
    if isinstance(path, list):
        path = path[0] if path else ""
    if isinstance(path, Mapping):
        path = path.get("path", "")
    name = os.path.basename(str(path).rstrip("/")) or str(path)
    return name, str(find_draft_value(values, "task")), str(find_draft_value(values, "method.kind"))


def write_draft_atomically(path: Path, text: str) -> None:
    """Write a private file atomically.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    other = path.with_suffix(".tmp")
    handle = open_private(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with open(handle, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        # Without it a power cut may leave an empty file under the new name.
        os.fsync(file.fileno())
    os.replace(other, path)
