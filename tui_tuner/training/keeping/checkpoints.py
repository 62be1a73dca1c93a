"""Checkpoints that are whole or not there: written beside, hashed, forced to the disk, then renamed.

`checkpoints/step-N/` holds what a resumed run needs (trained weights, optimizer, schedule, random states,
counters); nothing in it is a pickle that could run code. `best/` and `last/` are what one takes home.
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
from tui_tuner.runs.private import open_file, read_file
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

    def problem(self) -> str:
        """Why it cannot be used: a file missing, cut or changed. Empty if every byte is as it was written."""
        try:
            manifest = json.loads(read_file(self.path / MANIFEST))
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
                if target.stat().st_size != facts["bytes"]:
                    return _(
                        "{name} has {st_size} bytes instead of {bytes}",
                        name=one_line(name),
                        st_size=target.stat().st_size,
                        bytes=facts["bytes"],
                    )
                if _sha256(target) != facts["sha256"]:
                    return _("{name} was changed or damaged", name=one_line(name))
            except (OSError, KeyError, TypeError):
                return _("{name} is missing", name=one_line(name))
        return ""

    @property
    def bytes(self) -> int:
        return folder_bytes(self.path)


def checkpoints(root: Path) -> list[Checkpoint]:
    """Checkpoints below `root`, newest first; unverified."""
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


def newest_valid(root: Path, on_bad: Callable[[Checkpoint, str], None]) -> Checkpoint | None:
    """The newest checkpoint whose every byte is as written; `on_bad` hears of each one passed over."""
    for checkpoint in checkpoints(root):
        problem = checkpoint.problem()
        if not problem:
            return checkpoint
        on_bad(checkpoint, problem)
    return None


@dataclass(frozen=True)
class Unfinished:
    """A checkpoint whose files are complete, in `folder`, but neither hashed nor forced to the disk."""

    folder: Path
    root: Path
    step: int

    def finish(self) -> Checkpoint:
        """Hash, sync and rename; no longer needs the model, so another thread may do it.

        Raises:
            DiskFullError: no room; nothing is left behind.
            OSError: the disk refuses for another reason; nothing is left behind.
        """
        target = self.root / f"step-{self.step}"
        with _removed_on_failure(self.folder, target):
            files = {
                str(path.relative_to(self.folder)): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
                for path in sorted(self.folder.rglob("*"))
                if path.is_file()
            }
            manifest = json.dumps({"step": self.step, "files": files}, indent=1)
            (self.folder / MANIFEST).write_text(manifest, encoding="utf-8")
            _sync_tree(self.folder)
            before = target.with_name(f".{target.name}.before")
            if target.exists():  # set aside until the new one stands, for it may be the only one
                shutil.rmtree(before, ignore_errors=True)
                target.rename(before)
            self.folder.rename(target)
            _sync(self.root)
            shutil.rmtree(before, ignore_errors=True)
        _SOUND[target] = _files(target)
        return Checkpoint(target, self.step)


def begin_checkpoint(root: Path, step: int, fill: Callable[[Path], None]) -> Unfinished:
    """Write the files of `step-N` beside it, through `fill(folder)`; there is no checkpoint before `finish`.

    Raises:
        DiskFullError: no room; nothing is left behind.
        OSError: the disk refuses for another reason; nothing is left behind.
    """
    with _beside(root / f"step-{step}") as folder:
        fill(folder)
    return Unfinished(folder, root, step)


def write_folder(target: Path, fill: Callable[[Path], None], keep: Path | None = None) -> None:
    """Replace a folder by one that `fill(folder)` writes; the old one stays until the new one is whole.

    Args:
        target: The folder.
        fill: Writes the new one.
        keep: Where the old one is kept then; it is deleted otherwise.

    Raises:
        DiskFullError, OSError: as `begin_checkpoint`; the old folder is still there.
    """
    with _beside(target) as folder:
        fill(folder)
        _sync_tree(folder)
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        folder.rename(target)
        if keep is not None and old.exists():
            shutil.rmtree(keep, ignore_errors=True)
            old.rename(keep)
        _sync(target.parent)
        shutil.rmtree(old, ignore_errors=True)


def restore_folder(target: Path, keep: Path | None = None) -> None:
    """Finish or undo a `write_folder` that was killed between its renames, and clear leftovers."""
    old = target.with_name(f".{target.name}.old")
    if old.is_dir() and not target.exists():
        old.rename(target)
    elif old.is_dir() and keep is not None and not keep.exists():
        old.rename(keep)
    clear_leftovers(target.parent, target.name)


def clear_leftovers(root: Path, name: str = "step-") -> None:
    """Remove half-written folders of a process that was killed, and put back what it had set aside."""
    for aside in root.glob(f".{name}*.before"):
        target = aside.with_name(aside.name[1 : -len(".before")])
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(target)
    for leftover in root.glob(f".{name}*"):
        if leftover.is_dir() and leftover.name.endswith((".writing", ".old")):
            shutil.rmtree(leftover, ignore_errors=True)


# Checkpoints found sound in this process, by their files' names, sizes and times: bytes are read once
_SOUND: dict[Path, frozenset[tuple[str, int, int]]] = {}


def _is_sound(checkpoint: Checkpoint) -> bool:
    files = _files(checkpoint.path)
    if _SOUND.get(checkpoint.path) == files:
        return True
    sound = not checkpoint.problem()
    if sound:
        _SOUND[checkpoint.path] = files
    return sound


def _files(folder: Path) -> frozenset[tuple[str, int, int]]:
    found = set()
    for path in folder.rglob("*"):
        with suppress(OSError):
            facts = path.stat()
            found.add((str(path), facts.st_size, facts.st_mtime_ns))
    return frozenset(found)


def prune(root: Path, keep: int, best_step: int | None) -> None:
    """Delete all but the newest `keep` sound checkpoints and that of the best evaluation.

    A damaged one counts for nothing: with the number of a later step it would outlive all that are sound.
    """
    sound = 0
    for checkpoint in checkpoints(root):
        if sound < keep:
            sound += _is_sound(checkpoint)
        elif checkpoint.step != best_step:
            _SOUND.pop(checkpoint.path, None)
            # renamed first, so that a kill in between leaves no checkpoint with half its files
            doomed = checkpoint.path.with_name(f".{checkpoint.path.name}.old")
            try:
                checkpoint.path.rename(doomed)
            except OSError:
                doomed = checkpoint.path
            shutil.rmtree(doomed, ignore_errors=True)


def folder_bytes(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


# safetensors and torch wrap the system's error in their own words
_FULL_WORDS = (
    *("No space left on device", "os error 28)"),
    *("Disk quota exceeded", "os error 122)"),
    *("File too large", "os error 27)"),
)
_NO_REASON = ("PytorchStreamWriter", "iostream error", "unexpected pos")  # torch's, whatever the system said
_NO_ROOM = (
    1 << 20
)  # bytes free at which a failure to write is put down to the disk, whatever the library says


def disk_full(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that a disk or quota is full."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, DiskFullError) or (isinstance(link, OSError) and link.errno in _FULL):
            return True
        if any(sign in str(link) for sign in _FULL_WORDS):
            return True
        link = link.__cause__ or link.__context__
    return False


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A new folder next to `target`; gone if the body fails."""
    folder = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.writing")
    with _removed_on_failure(folder, target):
        target.parent.mkdir(exist_ok=True)  # not its parents: a run folder that was deleted stays deleted
        folder.mkdir(mode=0o700)
        yield folder


@contextmanager
def _removed_on_failure(folder: Path, target: Path) -> Iterator[None]:
    """Leave no half-written folder behind; a full disk is said as such."""
    try:
        yield
    except BaseException as error:
        # Asked before the folder is removed, which makes room. torch's writer of archives gives no reason.
        full = isinstance(error, Exception) and (disk_full(error) or _lacks_room(folder, error))
        shutil.rmtree(folder, ignore_errors=True)
        if full:
            where = one_line(target)
            raise DiskFullError(_("no room left on the disk."), where=where, hint=_("Make room.")) from error
        raise


def _lacks_room(folder: Path, error: BaseException) -> bool:
    """Whether a failure that gives no reason is put down to the disk, a quota, or a limit of this process."""
    with suppress(OSError):
        if shutil.disk_usage(folder).free < _NO_ROOM:
            return True
    if not any(words in str(error) for words in _NO_REASON):
        return False
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return True
    try:
        with open(folder / ".room", "wb") as probe:
            os.posix_fallocate(probe.fileno(), 0, _NO_ROOM)
    except OSError as refused:
        return refused.errno in _FULL
    return False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_file(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint."""
    data = json.loads(read_file(path, most=_MOST_JSON))
    if not isinstance(data, dict):
        raise ValueError(f"{path.name} is not an object")
    return data
