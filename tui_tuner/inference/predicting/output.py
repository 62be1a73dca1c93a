"""The file of predictions, with a state file next to it that records what they were made from.

A partial last line, left by a kill, is cut off; all rows before it are done. The file is held by a lock that
ends with its process.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tui_tuner.errors import DiskFullError, UsageError
from tui_tuner.inference.predicting.counts import Counts
from tui_tuner.inference.predicting.job import FLAGS, Job
from tui_tuner.locales import _
from tui_tuner.runs.private_files import read_small_file
from tui_tuner.text import one_line

VERSION = 1


class PredictionFile:
    """An output file that is locked for this process. Use `with`.

    Args:
        made_of: Model, input files and options in plain values.

    Attributes:
        counts: Counts of the rows written so far.
        rows: The number of rows in the end, if an earlier attempt counted them.
        ahead: Predictions of later rows by number, kept by an attempt that was stopped.

    Raises:
        UsageError: it is some other file, is locked by another process, or was made from something else.
        DiskFullError: it cannot be written.
    """

    def __init__(self, job: Job, made_of: Mapping[str, Any]) -> None:
        self.path = Path(job.out).expanduser()
        self._job, self._state = job, job.state_path
        # Through JSON, as the values from the state file are: tuples and lists must not differ
        self._made_of = json.loads(json.dumps(made_of))
        self.counts = Counts()
        self.rows: int | None = None
        self.ahead: dict[int, Any] = {}
        check_output_target(self.path)
        # Asked before the lock, which creates the file
        self._new = not self.path.exists()
        # The lock is held until the process ends, however it ends
        self._fd = _open_locked(self.path)
        try:
            self._resume_output()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PredictionFile:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    # ---- resuming -----------------------------------------------------------------------------------------

    def _resume_output(self) -> None:
        known = self._read_state()
        if self._job.force or not os.fstat(self._fd).st_size:
            return
        if known is None:
            raise UsageError(
                _("exists, and it is not known what it was made from."),
                where=one_line(self.path, 300),
                hint=_("Choose another -o, or overwrite it with --force."),
            )
        _check_same(known.get("made_of"), self._made_of, self.path)
        # The base model is not on this machine now, so its earlier hash is kept
        if not self._made_of["model"].get("base"):
            self._made_of["model"]["base"] = known["made_of"]["model"].get("base", "")
        self._count_lines()
        self.rows = known.get("rows") if isinstance(known.get("rows"), int) else None
        ahead = known.get("ahead")
        if isinstance(ahead, dict):
            self.ahead = {int(key): value for key, value in ahead.items() if key.isdigit()}

    def start_writing(self) -> None:
        """Prepare the file for the first row; with `force` this deletes the old content.

        Raises:
            DiskFullError: it cannot be written.
        """
        if not self.counts.rows:
            os.ftruncate(self._fd, 0)
        self.save_state(self.ahead)

    def _read_state(self) -> dict[str, Any] | None:
        try:
            found = json.loads(read_small_file(self._state))
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) and found.get("version") == VERSION else None

    def _count_lines(self) -> None:
        """Count the complete lines, and cut off a partial one at the end."""
        end = 0
        with open(os.dup(self._fd), "rb") as file:
            file.seek(0)
            for line, after in _read_whole_lines(file):
                row = _parse_row(line)
                # Only the last line may be damaged, by a kill; in the middle it is not our file
                if row is None:
                    if file.read(1):
                        raise UsageError(
                            _("line {line:,} is not a valid row.", line=self.counts.rows + 1),
                            where=one_line(self.path, 300),
                            hint=_("Choose another -o, or start again with --force."),
                        )
                    break
                self.counts.count_prediction(row.get(self._job.field), self._read_problem(row))
                end = after
        os.ftruncate(self._fd, end)

    def _read_problem(self, row: Mapping[str, Any]) -> str:
        return str(row.get(f"{self._job.field}_problem", row.get("problem", "")) or "")

    def record_model(self, model: Mapping[str, Any]) -> None:
        """Record the model once its weights are on this machine.

        Raises:
            UsageError: the existing rows were made by another model.
        """
        if (
            self.counts.rows
            and (differs := _describe_model_difference(self._made_of["model"], model)) is not None
        ):
            raise _refuse_other_origin([differs], self.path)
        self._made_of["model"] = json.loads(json.dumps(model))

    # ---- writing ------------------------------------------------------------------------------------------

    def write_lines(self, lines: Sequence[bytes]) -> None:
        """Append lines, each with its newline.

        Raises:
            DiskFullError: the disk is full; a partial last line is removed again.
        """
        block = memoryview(b"".join(lines))
        begun = os.fstat(self._fd).st_size
        done = 0
        try:
            while done < len(block):
                done += os.write(self._fd, block[done:])
        except OSError as error:
            whole = bytes(block[:done]).rfind(b"\n") + 1
            # Complete lines of a block stay: those rows are done, even though the write failed
            os.ftruncate(self._fd, begun + whole)
            raise _report_write_error(self.path, error) from None

    def save_state(self, ahead: Mapping[int, Any] | None = None) -> None:
        """Save what the file is made from, its final number of rows, and predictions of later rows."""
        values = {
            "version": VERSION,
            "made_of": self._made_of,
            "rows": self.rows,
            "ahead": {str(number): value for number, value in (ahead or {}).items()},
        }
        part = self._state.with_name(f".{self._state.name}.{os.getpid()}")
        try:
            with open(part, "wb") as file:
                file.write(orjson.dumps(values, option=orjson.OPT_INDENT_2, default=str) + b"\n")
            # Renaming is atomic: a reader finds either the old or the new state
            part.replace(self._state)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise _report_write_error(self._state, error) from None

    def sync_file(self) -> None:
        """Sync the finished file to the disk."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise _report_write_error(self.path, error) from None

    def discard_empty(self) -> None:
        """Delete a new file that is still empty, and its state."""
        if self._new and not os.fstat(self._fd).st_size:
            self._state.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the file for other processes."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def check_output_target(path: Path) -> None:
    """Raise `UsageError` if a path cannot be written as a file."""
    where = one_line(path, 300)
    if str(path) == "-":
        raise UsageError(
            _("is not a file, so an interrupted job could not be resumed."),
            where="-o -",
            hint=_("Give a name that ends in .jsonl."),
        )
    if path.is_dir():
        raise UsageError(_("is a folder."), where=where, hint=_("Give a name that ends in .jsonl."))
    if not path.parent.is_dir():
        raise UsageError(
            _("no such folder."), where=one_line(path.parent, 300), hint=_("Create it, or choose another -o.")
        )
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise UsageError(_("is not a regular file."), where=where, hint=_("Choose another -o."))


def _open_locked(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(
            _("cannot be written: {problem}.", problem=error.strerror),
            where=one_line(path, 300),
            hint=_("Choose another -o."),
        ) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UsageError(
            _("is being written by another process."),
            where=one_line(path, 300),
            hint=_("Wait for it, stop it, or choose another -o."),
        ) from None
    except OSError:
        # A file system without locks
        pass
    return fd


def _read_whole_lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield complete lines with the offset of their end."""
    at = 0
    for line in file:
        at += len(line)
        if line.endswith(b"\n"):
            yield line, at


def _parse_row(line: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _report_write_error(path: Path, error: OSError) -> DiskFullError:
    return DiskFullError(
        _("cannot be written: {problem}.", problem=error.strerror),
        where=one_line(path, 300),
        hint=_("Free some space; the same command continues where it stopped."),
    )


def _check_same(before: Any, now: Mapping[str, Any], path: Path) -> None:
    """Raise `UsageError` if an output was made from another model, input or other options."""
    before = before if isinstance(before, dict) else {}
    differs: list[str] = []
    if (model := _describe_model_difference(before.get("model"), now["model"])) is not None:
        differs.append(model)
    if before.get("input") != now["input"]:
        differs.append(_describe_input_difference(before.get("input"), now["input"]))
    options = before.get("options") if isinstance(before.get("options"), dict) else {}
    for name, value in now["options"].items():
        if options.get(name) != value:
            said = one_line(orjson.dumps(options.get(name)).decode(), 60)
            differs.append(_("{option} was {before}", option=FLAGS.get(name, name), before=said))
    if differs:
        raise _refuse_other_origin(differs, path)


def _refuse_other_origin(differs: Sequence[str], path: Path) -> UsageError:
    return UsageError(
        _("was made from something else: {differences}.", differences="; ".join(differs)),
        where=one_line(path, 300),
        hint=_("Use the same options to continue, choose another -o, or start again with --force."),
    )


def _describe_model_difference(before: Any, now: Mapping[str, Any]) -> str | None:
    """Describe how the model differs, ignoring its name; None if it does not."""
    before = before if isinstance(before, dict) else {}
    other = [name for name in now if name not in ("name", "base") and before.get(name) != now[name]]
    if not other:
        # State files of older versions recorded no base
        bases = {one["base"] for one in (before, now) if one.get("base")}
        if len(bases) < 2:
            return None
        return _("{name} had another base model (--base)", name=one_line(now["name"], 80))
    if other == ["files"]:
        return _("the model {name} has changed since", name=one_line(now["name"], 80))
    return _("the model was {before}", before=one_line(before.get("name", ""), 80))


def _describe_input_difference(before: Any, now: Sequence[Sequence[Any]]) -> str:
    known = (
        {one[0]: one for one in before if isinstance(one, list) and one} if isinstance(before, list) else {}
    )
    for one in now:
        if one[0] not in known:
            return _("{file} was not one of its files", file=one_line(one[0], 200))
        if known[one[0]] != list(one):
            return _("{file} has changed since", file=one_line(one[0], 200))
    return _("it was made from more or other files")
