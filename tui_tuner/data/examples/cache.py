"""Manage the cache of tokenised rows: where it is, what is in it, and what may be deleted.

Each store is a folder named by its key (`identity.make_cache_key`). It is checked byte for byte whenever it
is opened; a damaged one is deleted and made again. The cache is private to the user: no other user can read
the rows, or put rows there that a run would train on.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tui_tuner.data.examples.store import (
    META,
    TokenStore,
    find_store_damage,
    lock_store_folder,
    read_store_meta,
)
from tui_tuner.locales import N_, _
from tui_tuner.runs.events import EventSink, Warned
from tui_tuner.text import one_line

DAYS = 30  # after which an unused store is deleted
_KEY = re.compile(r"[0-9a-f]{32}")
_UNFINISHED = re.compile(r"\.([0-9a-f]{32})\.[0-9a-f]{8}")
_DAY = 86400.0
_BETWEEN = 60.0  # seconds in which a folder that was just filled may still get its name

STATES = (N_("complete"), N_("unfinished"), N_("damaged"))


# ---- the folder ------------------------------------------------------------------------------------------


def find_cache_root() -> Path:
    """Return the user's cache of tokens, a private folder; it is made if it does not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(home) / "tui-tuner" / "tokens"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _make_private(root):
            return root
    except OSError:
        pass
    return _make_fallback(tempfile.gettempdir())


def _make_private(root: Path) -> bool:
    """Return whether a folder is ours and writable; it is made private if it was not."""
    facts = root.stat()
    if facts.st_uid != os.geteuid() and os.geteuid() != 0:
        return False
    # Earlier versions made the folder readable for other users.
    if facts.st_mode & 0o077:
        root.chmod(0o700)
    return os.access(root, os.W_OK | os.X_OK)


@cache
def _make_fallback(folder: str) -> Path:
    """Return a private folder inside of one that all users can write to."""
    root = Path(folder) / f"tui-tuner-tokens-{os.geteuid()}"
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            root.mkdir(mode=0o700)
        # Another user may have made this name first: a link is not followed, and the owner must be us.
        facts = root.lstat()
        if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o022:
            root.chmod(0o700)
            return root
    return Path(tempfile.mkdtemp(prefix="tui-tuner-tokens-", dir=folder))


# ---- one store --------------------------------------------------------------------------------------------


def open_cached_store(root: Path, key: str, sink: EventSink | None = None) -> TokenStore | None:
    """Open and check the store of a key; None if there is none. A damaged one is deleted, with a warning."""
    folder = root / key
    if not (folder / META).exists():
        return None
    try:
        store = TokenStore(folder)
        damaged = find_store_damage(folder)
    except (OSError, ValueError, KeyError, TypeError):
        damaged = META
    if not damaged:
        with contextlib.suppress(OSError):
            # The time of this file says when the store was last used; it decides what is deleted.
            os.utime(folder / META)
        return store
    _delete_folder(folder)
    if sink:
        sink.emit(
            Warned(
                "cache_damaged",
                _(
                    "The cached tokens of this data are damaged ({name} is not as it was written).",
                    name=one_line(damaged),
                ),
                _("They are deleted and made again. If this happens more than once, check the disk."),
            )
        )
    return None


def name_temporary_store(root: Path, key: str) -> Path:
    """Name the folder in which the store of a key is written before it gets its final name."""
    return root / f".{key}.{uuid.uuid4().hex[:8]}"


def keep_cached_store(written: Path, root: Path, key: str) -> TokenStore:
    """Give a finished store its final name, or use the store of another run that was faster."""
    folder = root / key
    # The second attempt is for a name that was taken by something unusable.
    for attempt in range(2):
        try:
            written.rename(folder)
            return TokenStore(folder)
        except OSError:
            if attempt:
                break
        theirs = open_cached_store(root, key)
        if theirs is not None:
            _delete_folder(written)
            return theirs
        # What has the name is unfinished, damaged, or not even a folder.
        _delete_folder(folder)
    return TokenStore(written)


def _delete_folder(folder: Path) -> None:
    """Delete a folder, or whatever has its name; processes that have it open can still read it."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            folder.unlink()


# ---- all stores ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CachedStore:
    """A store of the cache.

    Args:
        key: Its name; the fields from `rows` on come from its `meta`, if that can be read.
        state: complete, unfinished (being written, or left by a process that died) or damaged.
        used: When it was last used [Unix seconds].
        in_use: A process is writing it or training with it.
    """

    key: str
    path: Path
    state: str
    bytes: int
    used: float
    in_use: bool
    rows: int = 0
    examples: int = 0
    tokens: int = 0
    data: tuple[str, ...] = ()
    task: str = ""
    model: str = ""
    tokenizer: str = ""
    dates: Mapping[str, str] | None = None

    def describe_as_json(self) -> dict[str, Any]:
        own = {"path": str(self.path), "data": list(self.data), "complete": self.state == "complete"}
        return {**asdict(self), **own}


def list_cached_stores(root: Path) -> list[CachedStore]:
    """List every store of the cache, last used first; other files there are ignored."""
    return sorted(_describe_all(root), key=lambda one: one.used, reverse=True)


def _describe_all(root: Path) -> Iterator[CachedStore]:
    for path in _list_folders(root):
        with contextlib.suppress(OSError):  # deleted meanwhile
            yield _describe_folder(path)


def _list_folders(root: Path) -> list[Path]:
    """List the folders whose names only this cache would use."""
    try:
        found = list(root.iterdir())
    except OSError:
        return []
    ours = (path for path in found if _KEY.fullmatch(path.name) or _UNFINISHED.fullmatch(path.name))
    return [path for path in ours if path.is_dir() and not path.is_symlink()]


def _describe_folder(path: Path) -> CachedStore:
    beside = _UNFINISHED.fullmatch(path.name)
    key = beside[1] if beside else path.name
    marker = path / META
    used = (marker if marker.exists() else path).stat().st_mtime
    files = list(path.iterdir())
    size = sum(file.stat().st_size for file in files if file.is_file())
    # If the exclusive lock is free, no process is using the folder.
    free = lock_store_folder(path, exclusive=True)
    if free is not None:
        os.close(free)
    found = CachedStore(key, path, "unfinished", size, used, in_use=free is None)
    if beside or not marker.exists():
        return found
    try:
        meta = read_store_meta(path)
        made = meta.get("made") or {}
        return replace(
            found,
            state="complete",
            rows=meta["rows"],
            examples=meta["examples"],
            # ids are int32: four bytes for each token.
            tokens=meta["sums"]["ids"][0] // 4,
            data=tuple(made.get("data", ())),
            task=made.get("task", ""),
            model=made.get("model", ""),
            tokenizer=made.get("tokenizer", ""),
            dates=made.get("dates"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return replace(found, state="damaged")


def select_stores_for_deletion(
    found: list[CachedStore], days: float | None = None, every: bool = False
) -> list[CachedStore]:
    """Select the stores to delete: damaged, never finished, or unused for so many days.

    A store that a process has in use stays, even with `every`.

    Args:
        days: By default `DAYS`.
    """
    now, oldest = time.time(), (DAYS if days is None else days) * _DAY
    return [
        one
        for one in found
        if not one.in_use
        and (
            one.state == "damaged"
            or (one.state == "unfinished" and now - one.used > _BETWEEN)
            or (one.state == "complete" and (every or now - one.used >= oldest))
        )
    ]


def delete_cached_stores(stores: list[CachedStore]) -> tuple[int, int]:
    """Delete stores; returns how many of them, and how many bytes, were deleted."""
    count = size = 0
    for one in stores:
        _delete_folder(one.path)
        if not one.path.exists():
            count, size = count + 1, size + one.bytes
    return count, size


def delete_old_stores(root: Path) -> None:
    """Delete stores that were not used for a month, or have been unfinished for a day."""
    now = time.time()
    for path in _list_folders(root):
        with contextlib.suppress(OSError):
            marker = path / META
            finished = marker.exists() and not _UNFINISHED.fullmatch(path.name)
            age = now - (marker if finished else path).stat().st_mtime
            if age > (DAYS * _DAY if finished else _DAY):
                _delete_unused(path)


def _delete_unused(path: Path) -> None:
    free = lock_store_folder(path, exclusive=True)
    if free is None:
        return
    try:
        _delete_folder(path)
    finally:
        os.close(free)
