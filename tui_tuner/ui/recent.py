"""Paths that were chosen before: a small private file beside the preferences, for every kind of file a list.

Several workbenches may be open at once: each adds to what the others wrote. The file holds paths and nothing
else. Both functions look at the disk, so a screen calls them in a thread of their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tui_tuner.runs.private import open_private, read_file
from tui_tuner.ui.preferences import preferences_path

MOST = 20  # paths of a kind that are kept
_LONGEST = 4096  # characters of a path, as of Linux
_PATIENCE = 0.5  # seconds that another workbench may take to write


def recent(kind: str) -> list[str]:
    """The paths of a kind that were chosen before and are still there, newest first."""
    return [path for path in _read().get(kind, []) if os.path.exists(path)]


def note_recent(kind: str, path: str) -> bool:
    """Put a path first among those of its kind; False where it is not there or cannot be kept."""
    path = os.path.abspath(os.path.expanduser(path))
    if len(path) > _LONGEST or not os.path.exists(path):
        return False
    try:
        _path().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone():
            held = _read()
            others = [other for other in held.get(kind, []) if other != path and os.path.exists(other)]
            _write({**held, kind: [path, *others][:MOST]})
    except OSError:
        return False
    return True


def _path() -> Path:
    return preferences_path().with_name("recent.json")


def _read() -> dict[str, list[str]]:
    try:
        held = json.loads(read_file(_path(), 1 << 20))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(held, dict):
        return {}
    return {
        kind: [path for path in paths if isinstance(path, str) and os.path.isabs(path) and "\0" not in path]
        for kind, paths in held.items()
        if isinstance(paths, list)
    }


def _write(held: dict[str, list[str]]) -> None:
    """Write the file as a whole or not at all; a name that is no Unicode is kept as JSON escapes it."""
    fd, name = tempfile.mkstemp(dir=_path().parent, prefix=".recent-")
    try:
        with open(fd, "w", encoding="ascii") as file:
            json.dump(held, file, indent=1)
        os.replace(name, _path())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep other workbenches from writing meanwhile, as far as the file system can do that."""
    fd = open_private(_path().with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    break  # it hangs: a path that it wrote may be lost, and no more
                time.sleep(0.01)
            except OSError:
                break  # a file system without locks
        yield
    finally:
        os.close(fd)
