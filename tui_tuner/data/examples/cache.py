"""The cache of tokenised rows: where it is, what is in it, and what may be deleted.

Each store is a folder named by its key (`identity.cache_key`). It is checked byte for byte whenever it is
opened; one that is damaged is thrown away and made anew. All of it is the user's alone: nobody else reads the
rows, and nobody else can put rows there that a run would train on.
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

from tui_tuner.data.examples.store import META, Store, find_damage, lock, read_meta
from tui_tuner.locales import N_, _
from tui_tuner.runs.events import Sink, Warned
from tui_tuner.text import one_line

DAYS = 30  # after which a store that nobody asked for is deleted
_KEY = re.compile(r"[0-9a-f]{32}")
_UNFINISHED = re.compile(r"\.([0-9a-f]{32})\.[0-9a-f]{8}")
_DAY = 86400.0
_BETWEEN = 60.0  # seconds: a folder that was just filled is about to get its name

STATES = (N_("complete"), N_("unfinished"), N_("damaged"))


# ---- where it is ------------------------------------------------------------------------------------------


def cache_root() -> Path:
    """The user's cache of tokens, made if need be: a folder that only the user can look into."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(home) / "tui-tuner" / "tokens"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _made_private(root):
            return root
    except OSError:
        pass
    return _fallback(tempfile.gettempdir())


def _made_private(root: Path) -> bool:
    """Whether a folder is ours and writable; others lose the rights that an older version gave them."""
    facts = root.stat()
    if facts.st_uid != os.geteuid() and os.geteuid() != 0:
        return False
    if facts.st_mode & 0o077:
        root.chmod(0o700)
    return os.access(root, os.W_OK | os.X_OK)


@cache
def _fallback(folder: str) -> Path:
    """A cache in a folder that everybody may write to: ours by name, or a new one where that is a trap."""
    root = Path(folder) / f"tui-tuner-tokens-{os.geteuid()}"
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileExistsError):
            root.mkdir(mode=0o700)
        facts = root.lstat()  # a link is not followed: it may lead anywhere
        if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o022:
            root.chmod(0o700)
            return root
    return Path(tempfile.mkdtemp(prefix="tui-tuner-tokens-", dir=folder))


# ---- one store --------------------------------------------------------------------------------------------


def open_store(root: Path, key: str, sink: Sink | None = None) -> Store | None:
    """The store of a key, checked; None if there is none. A damaged one is deleted, and that is said."""
    folder = root / key
    if not (folder / META).exists():
        return None
    try:
        store = Store(folder)
        damaged = find_damage(folder)
    except (OSError, ValueError, KeyError, TypeError):
        damaged = META
    if not damaged:
        with contextlib.suppress(OSError):
            os.utime(folder / META)
        return store
    _delete(folder)
    if sink:
        sink.emit(
            Warned(
                "cache_damaged",
                _(
                    "The cached tokens of this data are damaged ({name} is not as it was written).",
                    name=one_line(damaged),
                ),
                _("They are thrown away and made anew. If it happens again, check the disk."),
            )
        )
    return None


def beside(root: Path, key: str) -> Path:
    """Where the store of a key is written before it has its name."""
    return root / f".{key}.{uuid.uuid4().hex[:8]}"


def keep(written: Path, root: Path, key: str) -> Store:
    """Give a finished store its name. Where another run was faster, theirs is as good."""
    folder = root / key
    for attempt in range(2):
        try:
            written.rename(folder)
            return Store(folder)
        except OSError:
            if attempt:
                break
        theirs = open_store(root, key)
        if theirs is not None:
            _delete(written)
            return theirs
        _delete(folder)  # without an end, or no folder at all
    return Store(written)


def _delete(folder: Path) -> None:
    """Delete a folder, or what stands in its place; whoever has it open keeps it open."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            folder.unlink()


# ---- all of them ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cached:
    """A store of the cache.

    Args:
        key: Its name; what it holds is in `meta`, as far as it is known.
        state: complete, unfinished (being written, or left by a process that died) or damaged.
        used: When it was last used [Unix seconds].
        in_use: A process writes it, or trains with it.
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

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        own = {"path": str(self.path), "data": list(self.data), "complete": self.state == "complete"}
        return {**asdict(self), **own}


def cached(root: Path) -> list[Cached]:
    """Every store of the cache, last used first. What else lies there is not looked at."""
    return sorted(_cached(root), key=lambda one: one.used, reverse=True)


def _cached(root: Path) -> Iterator[Cached]:
    for path in _folders(root):
        with contextlib.suppress(OSError):  # deleted meanwhile
            yield _described(path)


def _folders(root: Path) -> list[Path]:
    """Folders that only this cache would have made."""
    try:
        found = list(root.iterdir())
    except OSError:
        return []
    ours = (path for path in found if _KEY.fullmatch(path.name) or _UNFINISHED.fullmatch(path.name))
    return [path for path in ours if path.is_dir() and not path.is_symlink()]


def _described(path: Path) -> Cached:
    beside = _UNFINISHED.fullmatch(path.name)
    key = beside[1] if beside else path.name
    marker = path / META
    used = (marker if marker.exists() else path).stat().st_mtime
    files = list(path.iterdir())
    size = sum(file.stat().st_size for file in files if file.is_file())
    free = lock(path, exclusive=True)
    if free is not None:
        os.close(free)
    found = Cached(key, path, "unfinished", size, used, in_use=free is None)
    if beside or not marker.exists():
        return found
    try:
        meta = read_meta(path)
        made = meta.get("made") or {}
        return replace(
            found,
            state="complete",
            rows=meta["rows"],
            examples=meta["examples"],
            tokens=meta["sums"]["ids"][0] // 4,
            data=tuple(made.get("data", ())),
            task=made.get("task", ""),
            model=made.get("model", ""),
            tokenizer=made.get("tokenizer", ""),
            dates=made.get("dates"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return replace(found, state="damaged")


def to_clean(found: list[Cached], days: float | None = None, every: bool = False) -> list[Cached]:
    """Those that may go: damaged ones, those that were never finished, and what was not used for so long.

    What a process has in use stays, `every` or not.

    Args:
        days: None is `DAYS`.
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


def delete(stores: list[Cached]) -> tuple[int, int]:
    """Delete stores; how many of them are gone, and how many bytes."""
    count = size = 0
    for one in stores:
        _delete(one.path)
        if not one.path.exists():
            count, size = count + 1, size + one.bytes
    return count, size


def forget_old(root: Path) -> None:
    """Delete what nobody asked for in a month, and what was left unfinished a day ago."""
    now = time.time()
    for path in _folders(root):
        with contextlib.suppress(OSError):
            marker = path / META
            finished = marker.exists() and not _UNFINISHED.fullmatch(path.name)
            age = now - (marker if finished else path).stat().st_mtime
            if age > (DAYS * _DAY if finished else _DAY):
                _delete_unused(path)


def _delete_unused(path: Path) -> None:
    free = lock(path, exclusive=True)
    if free is None:
        return
    try:
        _delete(path)
    finally:
        os.close(free)
