"""Recently chosen paths: a small private file next to the preferences, with a list for each kind of file.

Several workbenches may be open at once: each adds to what the others wrote. The file holds paths and nothing
else. Both functions access the disk, so screens call them in a thread.
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

from tui_tuner.runs.private_files import open_private, read_small_file
from tui_tuner.ui.preferences import find_preferences_path

MOST = 20  # paths of a kind that are kept
_LONGEST = 4096  # characters of a path, as of Linux
_PATIENCE = 0.5  # seconds that another workbench may take to write


def list_recent_paths(kind: str) -> list[str]:
    """Return the recent paths of a kind that still exist, newest first."""
    return [path for path in _read_recent().get(kind, []) if os.path.exists(path)]


def note_recent_path(kind: str, path: str) -> bool:
    """Put a path first among those of its kind; False if it does not exist or cannot be saved."""
    path = os.path.abspath(os.path.expanduser(path))
    if len(path) > _LONGEST or not os.path.exists(path):
        return False
    try:
        _find_recent_file().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _lock_recent():
            # Read inside the lock: another workbench may have added a path since.
            held = _read_recent()
            others = [other for other in held.get(kind, []) if other != path and os.path.exists(other)]
            _write_recent({**held, kind: [path, *others][:MOST]})
    except OSError:
        return False
    return True


def _find_recent_file() -> Path:
    return find_preferences_path().with_name("recent.json")


def _read_recent() -> dict[str, list[str]]:
    try:
        held = json.loads(read_small_file(_find_recent_file(), 1 << 20))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(held, dict):
        return {}
    return {
        kind: [path for path in paths if isinstance(path, str) and os.path.isabs(path) and "\0" not in path]
        for kind, paths in held.items()
        if isinstance(paths, list)
    }


def _write_recent(held: dict[str, list[str]]) -> None:
    """Write the file atomically; a name that is not valid Unicode is kept as JSON escapes."""
    # In the same folder, because a rename is only atomic within one file system.
    fd, name = tempfile.mkstemp(dir=_find_recent_file().parent, prefix=".recent-")
    try:
        with open(fd, "w", encoding="ascii") as file:
            json.dump(held, file, indent=1)
        os.replace(name, _find_recent_file())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def _lock_recent() -> Iterator[None]:
    """Lock out other workbenches, as far as the file system supports locks."""
    # A file of its own: the list itself is replaced, and a lock on the old file would guard nothing.
    fd = open_private(_find_recent_file().with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    break  # the holder hangs: at worst its newest path is lost
                time.sleep(0.01)
            except OSError:
                break  # a file system without locks
        yield
    finally:
        os.close(fd)
