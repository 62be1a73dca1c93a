"""Understand paths as they are pasted: quoted, with escaped blanks, or as a file:// URL."""

from __future__ import annotations

import glob
import os

from tui_tuner.config.paths import list_path_readings


def find_meant_path(text: str) -> str:
    """Return the path that a pasted text means; the text itself if no reading of it exists."""
    # The text as written comes first: a file may really have quotes or backslashes in its name.
    for name in (text, *list_path_readings(text)):
        try:
            path = os.path.expanduser(name)
            if os.path.lexists(path) or (glob.has_magic(path) and glob.glob(path, recursive=True)):
                return name
        except (OSError, ValueError):
            continue
    return text
