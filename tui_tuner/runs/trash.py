"""Renaming runs, and deleting them to a folder from which they come back."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tui_tuner.errors import DiskFullError, UsageError
from tui_tuner.locales import N_, _
from tui_tuner.runs.private import open_private
from tui_tuner.runs.store import RunFolder, RunStore, check_name
from tui_tuner.text import one_line

FOLDER = ".trash"
_MARK = "~"  # between a run's name and the time it was deleted


@dataclass(frozen=True)
class Deleted:
    """A run in the trash."""

    name: str
    path: Path
    time: float


def rename(store: RunStore, folder: RunFolder, name: str) -> RunFolder:
    """Give a run that is not on another name.

    Raises:
        UsageError: it is on, the name is taken or no folder name.
    """
    check_name(name)
    target = folder.path.parent / name
    with _at_rest(folder, _RENAME):
        _refuse_taken(target)
        _move(folder.path, target)
    return RunFolder(target)


def delete(store: RunStore, folder: RunFolder) -> Deleted:
    """Move a run that is not on into the trash of its runs folder.

    Raises:
        UsageError: it is on.
    """
    trash = folder.path.parent / FOLDER
    with _at_rest(folder, _DELETE):
        trash.mkdir(mode=0o700, exist_ok=True)
        stamp = time.time()
        target = trash / f"{folder.name}{_MARK}{stamp:.3f}"
        _move(folder.path, target)
    return Deleted(folder.name, target, stamp)


def deleted(store: RunStore) -> list[Deleted]:
    """What is in the trash, newest first."""
    found = []
    try:
        paths = list((store.root / FOLDER).iterdir())
    except OSError:
        return []
    for path in paths:
        name, mark, stamp = path.name.rpartition(_MARK)
        try:
            found.append(Deleted(name, path, float(stamp)) if mark else Deleted(path.name, path, 0.0))
        except ValueError:
            found.append(Deleted(path.name, path, 0.0))
    return sorted(found, key=lambda item: item.time, reverse=True)


def restore(store: RunStore, name: str) -> RunFolder:
    """Take the newest deleted run of a name out of the trash.

    Raises:
        UsageError: there is none, or a run of this name exists again.
    """
    for item in deleted(store):
        if item.name == name:
            target = store.root / name
            check_name(name)
            _refuse_taken(target)
            _move(item.path, target)
            return RunFolder(target)
    raise UsageError(
        _("no run {name!r} in the trash.", name=one_line(name)),
        hint=_("`tui-tuner runs trash` lists what is there."),
    )


def empty(store: RunStore) -> tuple[int, int]:
    """Delete for good what is in the trash; returns how many runs and how many bytes that was."""
    from tui_tuner.runs.history import disk_use

    count = size = 0
    for item in deleted(store):
        use = disk_use(item.path)
        if item.path.is_symlink() or not item.path.is_dir():
            item.path.unlink(missing_ok=True)
        else:
            shutil.rmtree(item.path)  # does not follow links
        count, size = count + 1, size + use
    return count, size


# What is said where the disk refuses, and where the run is on
_RENAME = N_("cannot be renamed: {problem}."), N_("is on, so it cannot be renamed.")
_DELETE = N_("cannot be deleted: {problem}."), N_("is on, so it cannot be deleted.")


@contextmanager
def _at_rest(folder: RunFolder, said: tuple[str, str]) -> Iterator[None]:
    """Hold the run's lock, so that nobody starts it meanwhile; refuse if somebody runs it."""
    try:
        fd = open_private(folder.path / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise DiskFullError(_(said[0], problem=error.strerror), where=one_line(folder.path)) from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            name = one_line(folder.name)
            raise UsageError(
                _(said[1]), where=name, hint=_("End it first: `tui-tuner stop {name}`.", name=name)
            ) from None
        if folder.alive():
            raise UsageError(_(said[1]), where=one_line(folder.name))
        yield
    finally:
        os.close(fd)


def _refuse_taken(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise UsageError(
            _("a run of this name exists."), where=one_line(target), hint=_("Rename one of them.")
        )


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        raise DiskFullError(
            _("cannot be moved: {problem}.", problem=error.strerror), where=one_line(source)
        ) from None
