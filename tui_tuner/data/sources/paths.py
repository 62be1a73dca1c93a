"""Paths as they are pasted: quoted, with backslashes before blanks, as a file:// URL."""

from __future__ import annotations

import glob
import os

from tui_tuner.config.paths import plainer


def as_meant(text: str) -> str:
    """The path that a text means: as it stands if that is there, else what a shell or a browser made of it.

    What leads nowhere in any reading comes back as it stands.
    """
    for name in (text, *plainer(text)):
        try:
            path = os.path.expanduser(name)
            if os.path.lexists(path) or (glob.has_magic(path) and glob.glob(path, recursive=True)):
                return name
        except (OSError, ValueError):
            continue
    return text
