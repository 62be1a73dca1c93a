"""Store the user's note and tags for a run, in `notes.json` of its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.runs.private_files import read_small_file
from tui_tuner.runs.secrets import get_current_scrubber
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line

MOST_NOTE = 2000  # characters
MOST_TAGS = 32
_FILE = "notes.json"


@dataclass(frozen=True)
class Notes:
    note: str = ""
    tags: tuple[str, ...] = ()


def read_notes(folder: RunFolder) -> Notes:
    """Read the note and tags; empty if there are none or the file is damaged."""
    try:
        data = json.loads(read_small_file(Path(folder.path) / _FILE))
    except (OSError, ValueError, RecursionError):
        return Notes()
    if not isinstance(data, dict):
        return Notes()
    note, tags = data.get("note"), data.get("tags")
    return Notes(
        note if isinstance(note, str) else "",
        tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
    )


def set_run_note(folder: RunFolder, note: str) -> None:
    """Write the note; an empty text removes it.

    Raises:
        UsageError: too long.
        DiskFullError: the folder cannot be written.
    """
    if len(note) > MOST_NOTE:
        raise UsageError(
            _("a note has at most {most} characters, not {count}.", most=MOST_NOTE, count=len(note))
        )
    _write_notes(folder, Notes(note.strip(), read_notes(folder).tags))


def change_run_tags(folder: RunFolder, changes: list[str]) -> tuple[str, ...]:
    """Add tags, or remove those with a minus in front; return the resulting tags, sorted.

    Raises:
        UsageError: a tag is empty, too long or contains blanks, or there are too many.
        DiskFullError: the folder cannot be written.
    """
    known = read_notes(folder)
    tags = set(known.tags)
    for change in changes:
        tag = change.removeprefix("-").removeprefix("+")
        if not tag or len(tag) > 40 or any(part.isspace() or not part.isprintable() for part in tag):
            raise UsageError(
                _("{change!r} is not a tag.", change=one_line(change)),
                hint=_("A tag is one word of at most 40 characters."),
            )
        if change.startswith("-"):
            tags.discard(tag)
        else:
            tags.add(tag)
    if len(tags) > MOST_TAGS:
        raise UsageError(_("a run has at most {most} tags.", most=MOST_TAGS))
    _write_notes(folder, Notes(known.note, tuple(sorted(tags))))
    return tuple(sorted(tags))


def _write_notes(folder: RunFolder, notes: Notes) -> None:
    kept = {"note": notes.note, "tags": list(notes.tags)}
    # A run folder is often shared, and a note may quote a command line with a token.
    folder.write_file(_FILE, get_current_scrubber().mask_text(json.dumps(kept, ensure_ascii=False)))
