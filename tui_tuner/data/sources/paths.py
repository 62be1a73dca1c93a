"""Paths as they are pasted: quoted, with backslashes before blanks, as a file:// URL."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

_QUOTES = ("''", '""', "``", "‘’", "“”", "«»")


def as_meant(text: str) -> str:
    """The path that a text means: as it stands if that is there, else what a shell or a browser made of it.

    What leads nowhere in any reading comes back as it stands.
    """
    for name in (text, *_readings(text)):
        path = os.path.expanduser(name)
        try:
            if os.path.lexists(path) or (glob.has_magic(path) and glob.glob(path, recursive=True)):
                return name
        except (OSError, ValueError):
            continue
    return text


def _readings(text: str) -> Iterator[str]:
    name = text.strip()
    yield name
    if len(name) > 2 and name[0] + name[-1] in _QUOTES:
        name = name[1:-1]
        yield name
    if name.lower().startswith("file:"):
        name = unquote(re.sub(r"^file:(?://(?:localhost)?(?=/))?", "", name, flags=re.IGNORECASE))
        yield name
    if "\\" in name:
        yield re.sub(r"\\(.)", r"\1", name)
        yield str(Path(*name.split("\\")))
