"""Rename runs, and delete them to a trash folder from which they can be restored."""

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
from tui_tuner.runs.private_files import open_private
from tui_tuner.runs.store import RunFolder, RunStore, check_run_name
from tui_tuner.text import one_line

FOLDER = ".trash"
_MARK = "~"  # between a run's name and the time it was deleted


@dataclass(frozen=True)
class DeletedRun:
    """A run in the trash."""

    name: str
    path: Path
    time: float


def rename_run(store: RunStore, folder: RunFolder, name: str) -> RunFolder:
    """Rename a run that is not running.

    Raises:
        UsageError: it is running, or the name is taken or invalid.
    """
    check_run_name(name)
    target = folder.path.parent / name
    with _hold_idle_run(folder, _RENAME):
        _refuse_taken(target)
        _move_folder(folder.path, target)
    return RunFolder(target)


def delete_run(store: RunStore, folder: RunFolder) -> DeletedRun:
    """Move a run that is not running to the trash of its runs folder.

    Raises:
        UsageError: it is running.
    """
    trash = folder.path.parent / FOLDER
    with _hold_idle_run(folder, _DELETE):
        trash.mkdir(mode=0o700, exist_ok=True)
        stamp = time.time()
        # The time keeps several deleted runs of one name apart.
        target = trash / f"{folder.name}{_MARK}{stamp:.3f}"
        _move_folder(folder.path, target)
    return DeletedRun(folder.name, target, stamp)


def list_deleted_runs(store: RunStore) -> list[DeletedRun]:
    """List the runs in the trash, newest first."""
    found = []
    try:
        paths = list((store.root / FOLDER).iterdir())
    except OSError:
        return []
    # Anything may be in the folder; what has no time in its name counts as the oldest.
    for path in paths:
        name, mark, stamp = path.name.rpartition(_MARK)
        try:
            found.append(DeletedRun(name, path, float(stamp)) if mark else DeletedRun(path.name, path, 0.0))
        except ValueError:
            found.append(DeletedRun(path.name, path, 0.0))
    return sorted(found, key=lambda item: item.time, reverse=True)


def restore_run(store: RunStore, name: str) -> RunFolder:
    """Restore the newest deleted run of a name from the trash.

    Raises:
        UsageError: there is none, or a run of this name exists again.
    """
    for item in list_deleted_runs(store):
        if item.name == name:
            target = store.root / name
            check_run_name(name)
            _refuse_taken(target)
            _move_folder(item.path, target)
            return RunFolder(target)
    raise UsageError(
        _("no run {name!r} in the trash.", name=one_line(name)),
        hint=_("`tui-tuner runs trash` lists the deleted runs."),
    )


def empty_trash(store: RunStore) -> tuple[int, int]:
    """Delete the runs in the trash for good; return their number and size in bytes."""
    from tui_tuner.runs.history import measure_disk_use

    count = size = 0
    for item in list_deleted_runs(store):
        use = measure_disk_use(item.path)
        if item.path.is_symlink() or not item.path.is_dir():
            item.path.unlink(missing_ok=True)
        else:
            shutil.rmtree(item.path)  # this does not follow links
        count, size = count + 1, size + use
    return count, size


# Messages for an error of the disk, and for a run that is running
_RENAME = N_("cannot be renamed: {problem}."), N_("is still running and cannot be renamed.")
_DELETE = N_("cannot be deleted: {problem}."), N_("is still running and cannot be deleted.")


@contextmanager
def _hold_idle_run(folder: RunFolder, said: tuple[str, str]) -> Iterator[None]:
    """Hold the run's lock, so that it cannot be started meanwhile; raise if it is running."""
    try:
        fd = open_private(folder.path / ".lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise DiskFullError(_(said[0], problem=error.strerror), where=one_line(folder.path)) from None
    try:
        try:
            # The same lock that a running process holds, so this fails while one does.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            name = one_line(folder.name)
            raise UsageError(
                _(said[1]), where=name, hint=_("Stop it first: `tui-tuner stop {name}`.", name=name)
            ) from None
        if folder.is_alive():
            raise UsageError(_(said[1]), where=one_line(folder.name))
        yield
    finally:
        os.close(fd)


def _refuse_taken(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise UsageError(
            _("a run of this name exists."), where=one_line(target), hint=_("Rename one of them.")
        )


def _move_folder(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        raise DiskFullError(
            _("cannot be moved: {problem}.", problem=error.strerror), where=one_line(source)
        ) from None
