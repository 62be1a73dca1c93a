"""Write checkpoints that are complete or absent: in a temporary folder, hashed, synced, then renamed.

`checkpoints/step-N/` holds what a resumed run needs (trained weights, optimizer, schedule, random states,
counters); nothing in it is a pickle that could run code. `best/` and `last/` are the final models.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import resource
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui_tuner.errors import DiskFullError
from tui_tuner.locales import _
from tui_tuner.runs.private_files import open_regular_file, read_small_file
from tui_tuner.text import one_line

MANIFEST = "files.json"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BLOCK = 1 << 20
_MOST_JSON = 256 << 20  # bytes


@dataclass(frozen=True)
class Checkpoint:
    """A finished checkpoint folder."""

    path: Path
    step: int

    def find_problem(self) -> str:
        """Explain why it is unusable: a file is missing, cut or changed. Empty if all are as written."""
        try:
            manifest = json.loads(read_small_file(self.path / MANIFEST))
            files, step = dict(manifest["files"]), manifest["step"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return _("its list of files is missing or damaged")
        if not files:
            return _("its list of files is empty")
        if step != self.step:
            return _("it holds step {step}", step=one_line(step, 40))
        for name, facts in files.items():
            target = self.path / name
            try:
                # The size first: most damage is a file cut short, which needs no reading of gigabytes.
                if target.stat().st_size != facts["bytes"]:
                    return _(
                        "{name} has {st_size} bytes instead of {bytes}",
                        name=one_line(name),
                        st_size=target.stat().st_size,
                        bytes=facts["bytes"],
                    )
                if _hash_file(target) != facts["sha256"]:
                    return _("{name} was changed or damaged", name=one_line(name))
            except (OSError, KeyError, TypeError):
                return _("{name} is missing", name=one_line(name))
        return ""

    @property
    def total_bytes(self) -> int:
        return measure_folder_bytes(self.path)


def list_checkpoints(root: Path) -> list[Checkpoint]:
    """List the checkpoints below `root`, newest first; not verified."""
    found = []
    try:
        entries = list(root.iterdir())
    except OSError:
        return []
    for entry in entries:
        match = re.fullmatch(r"step-(\d{1,12})", entry.name)
        if match and entry.is_dir():
            found.append(Checkpoint(entry, int(match[1])))
    return sorted(found, key=lambda checkpoint: checkpoint.step, reverse=True)


def find_newest_checkpoint(root: Path, on_bad: Callable[[Checkpoint, str], None]) -> Checkpoint | None:
    """Return the newest intact checkpoint; `on_bad` is called with each damaged one that is skipped."""
    for checkpoint in list_checkpoints(root):
        problem = checkpoint.find_problem()
        if not problem:
            return checkpoint
        on_bad(checkpoint, problem)
    return None


@dataclass(frozen=True)
class UnfinishedCheckpoint:
    """A checkpoint whose files are complete, in `folder`, but neither hashed nor synced to the disk."""

    folder: Path
    root: Path
    step: int

    def finish_checkpoint(self) -> Checkpoint:
        """Hash, sync and rename. The model is not needed any more, so this may run in another thread.

        Raises:
            DiskFullError: no room; nothing is left behind.
            OSError: the disk fails for another reason; nothing is left behind.
        """
        target = self.root / f"step-{self.step}"
        with _removed_on_failure(self.folder, target):
            files = {
                str(path.relative_to(self.folder)): {"bytes": path.stat().st_size, "sha256": _hash_file(path)}
                for path in sorted(self.folder.rglob("*"))
                if path.is_file()
            }
            manifest = json.dumps({"step": self.step, "files": files}, indent=1)
            (self.folder / MANIFEST).write_text(manifest, encoding="utf-8")
            # Before the rename: after a power failure the final name must not exist without its bytes.
            _sync_tree(self.folder)
            before = target.with_name(f".{target.name}.before")
            # Set aside until the new one is in place: it may be the only checkpoint.
            if target.exists():
                shutil.rmtree(before, ignore_errors=True)
                target.rename(before)
            self.folder.rename(target)
            # A rename is durable only once the folder that holds the name is synced.
            _sync_file(self.root)
            shutil.rmtree(before, ignore_errors=True)
        # Its bytes have just been hashed, so pruning need not read them again.
        _SOUND[target] = _list_files(target)
        return Checkpoint(target, self.step)


def begin_checkpoint(root: Path, step: int, fill: Callable[[Path], None]) -> UnfinishedCheckpoint:
    """Write the files of `step-N` into a temporary folder, with `fill(folder)`.

    The checkpoint does not exist before `finish_checkpoint`.

    Raises:
        DiskFullError: no room; nothing is left behind.
        OSError: the disk fails for another reason; nothing is left behind.
    """
    with _write_beside(root / f"step-{step}") as folder:
        fill(folder)
    return UnfinishedCheckpoint(folder, root, step)


def write_checkpoint_folder(target: Path, fill: Callable[[Path], None], keep: Path | None = None) -> None:
    """Replace a folder with one that `fill(folder)` writes; the old one stays until the new one is complete.

    Args:
        fill: Writes the files into a temporary folder.
        keep: Where the old folder is moved to; without it, the old one is deleted.

    Raises:
        DiskFullError, OSError: as `begin_checkpoint`; the old folder stays.
    """
    with _write_beside(target) as folder:
        fill(folder)
        _sync_tree(folder)
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        # Two folders cannot be swapped in one go; `restore_checkpoint_folder` undoes or finishes these
        # renames.
        if target.exists():
            target.rename(old)
        folder.rename(target)
        if keep is not None and old.exists():
            shutil.rmtree(keep, ignore_errors=True)
            old.rename(keep)
        _sync_file(target.parent)
        shutil.rmtree(old, ignore_errors=True)


def restore_checkpoint_folder(target: Path, keep: Path | None = None) -> None:
    """Finish or undo a `write_checkpoint_folder` that was killed between its renames, and remove
    leftovers.
    """
    old = target.with_name(f".{target.name}.old")
    if old.is_dir() and not target.exists():
        old.rename(target)
    # The new folder is in place: all that was left to do was to keep the old one.
    elif old.is_dir() and keep is not None and not keep.exists():
        old.rename(keep)
    clear_checkpoint_leftovers(target.parent, target.name)


def clear_checkpoint_leftovers(root: Path, name: str = "step-") -> None:
    """Remove half-written folders of a killed process, and put back what it had set aside."""
    for aside in root.glob(f".{name}*.before"):
        target = aside.with_name(aside.name[1 : -len(".before")])
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(target)
    for leftover in root.glob(f".{name}*"):
        if leftover.is_dir() and leftover.name.endswith((".writing", ".old")):
            shutil.rmtree(leftover, ignore_errors=True)


# Intact checkpoints, with names, sizes and times of their files: bytes are hashed only once in a process.
_SOUND: dict[Path, frozenset[tuple[str, int, int]]] = {}


def _is_sound(checkpoint: Checkpoint) -> bool:
    files = _list_files(checkpoint.path)
    if _SOUND.get(checkpoint.path) == files:
        return True
    sound = not checkpoint.find_problem()
    if sound:
        _SOUND[checkpoint.path] = files
    return sound


def _list_files(folder: Path) -> frozenset[tuple[str, int, int]]:
    found = set()
    for path in folder.rglob("*"):
        with suppress(OSError):
            facts = path.stat()
            found.add((str(path), facts.st_size, facts.st_mtime_ns))
    return frozenset(found)


def prune_checkpoints(root: Path, keep: int, best_step: int | None) -> None:
    """Delete all but the newest `keep` intact checkpoints and that of the best evaluation."""
    sound = 0
    for checkpoint in list_checkpoints(root):
        # A damaged one does not count: with a later step number it would push out all that are intact.
        if sound < keep:
            sound += _is_sound(checkpoint)
        elif checkpoint.step != best_step:
            _SOUND.pop(checkpoint.path, None)
            # Renamed first, so that a kill in between leaves no checkpoint with half its files.
            doomed = checkpoint.path.with_name(f".{checkpoint.path.name}.old")
            try:
                checkpoint.path.rename(doomed)
            except OSError:
                doomed = checkpoint.path
            shutil.rmtree(doomed, ignore_errors=True)


def measure_folder_bytes(path: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


# safetensors and torch replace the system's error with their own, which keeps only its text
_FULL_WORDS = (
    *("No space left on device", "os error 28)"),
    *("Disk quota exceeded", "os error 122)"),
    *("File too large", "os error 27)"),
)
_NO_REASON = ("PytorchStreamWriter", "iostream error", "unexpected pos")  # from torch, whatever the cause
# With fewer free bytes, any failure to write is taken for a full disk, whatever the library reports.
_NO_ROOM = 1 << 20


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, means a full disk or quota."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, DiskFullError) or (isinstance(link, OSError) and link.errno in _FULL):
            return True
        if any(sign in str(link) for sign in _FULL_WORDS):
            return True
        link = link.__cause__ or link.__context__
    return False


@contextmanager
def _write_beside(target: Path) -> Iterator[Path]:
    """Create a temporary folder next to `target`; it is removed if the body fails."""
    folder = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.writing")
    with _removed_on_failure(folder, target):
        # Not its parents: a run folder that was deleted must stay deleted.
        target.parent.mkdir(exist_ok=True)
        folder.mkdir(mode=0o700)
        yield folder


@contextmanager
def _removed_on_failure(folder: Path, target: Path) -> Iterator[None]:
    """Remove a half-written folder on failure, and raise DiskFullError if the disk was full."""
    try:
        yield
    except BaseException as error:
        # Checked before the folder is removed, which makes room.
        full = isinstance(error, Exception) and (is_disk_full(error) or _lacks_room(folder, error))
        shutil.rmtree(folder, ignore_errors=True)
        if full:
            where = one_line(target)
            raise DiskFullError(_("no room left on the disk."), where=where, hint=_("Make room.")) from error
        raise


def _lacks_room(folder: Path, error: BaseException) -> bool:
    """Return whether a failure without a reason is due to a full disk, a quota or a limit of this process."""
    with suppress(OSError):
        if shutil.disk_usage(folder).free < _NO_ROOM:
            return True
    if not any(words in str(error) for words in _NO_REASON):
        return False
    # A limit on the size of files (`ulimit -f`) makes writes fail while the disk has room.
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return True
    # A quota does not show in the free bytes of the disk: only an attempt to write reveals it.
    try:
        with open(folder / ".room", "wb") as probe:
            os.posix_fallocate(probe.fileno(), 0, _NO_ROOM)
    except OSError as refused:
        return refused.errno in _FULL
    return False


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular_file(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _sync_tree(folder: Path) -> None:
    # Folders too: they hold the names of new files, which would be lost without it.
    for path in folder.rglob("*"):
        _sync_file(path)
    _sync_file(folder)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_checkpoint_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint; raise ValueError if it is anything else."""
    data = json.loads(read_small_file(path, most=_MOST_JSON))
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} is not an object")
    return data
