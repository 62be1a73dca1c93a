"""The file of predictions: whole lines in order, and beside it what they were made of.

A line is whole or it is not there: what a kill left torn at the end is cut off, and the rows before it are
done. The file is held by a lock that dies with its process.
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
from tui_tuner.runs.private import read_file
from tui_tuner.text import one_line

VERSION = 1


class Output:
    """An output that is open for this process alone. Use `with`.

    Args:
        made_of: The model, the input files and the options, in plain values.

    Attributes:
        counts: Rows that are there, and what is in them.
        rows: How many there will be, where an earlier attempt counted them.
        ahead: Values of rows behind those that are there, by number, kept by an attempt that was stopped.

    Raises:
        UsageError: it is another file, is held by another process, or was begun from something else.
        DiskFullError: it cannot be written.
    """

    def __init__(self, job: Job, made_of: Mapping[str, Any]) -> None:
        self.path = Path(job.out).expanduser()
        self._job, self._state = job, job.state
        self._made_of = json.loads(json.dumps(made_of))
        self.counts = Counts()
        self.rows: int | None = None
        self.ahead: dict[int, Any] = {}
        check_target(self.path)
        self._new = not self.path.exists()
        self._fd = _locked(self.path)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    # ---- what is there ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        known = self._read_state()
        if self._job.force or not os.fstat(self._fd).st_size:
            return
        if known is None:
            raise UsageError(
                _("exists, and nothing says what it was made of."),
                where=one_line(self.path, 300),
                hint=_("Choose another -o, or write over it with --force."),
            )
        _check_same(known.get("made_of"), self._made_of, self.path)
        if not self._made_of["model"].get("base"):  # it is not here now
            self._made_of["model"]["base"] = known["made_of"]["model"].get("base", "")
        self._count_lines()
        self.rows = known.get("rows") if isinstance(known.get("rows"), int) else None
        ahead = known.get("ahead")
        if isinstance(ahead, dict):
            self.ahead = {int(key): value for key, value in ahead.items() if key.isdigit()}

    def start(self) -> None:
        """Everything is ready: from here on, rows are added. What is to be written over is gone now.

        Raises:
            DiskFullError: it cannot be written.
        """
        if not self.counts.rows:
            os.ftruncate(self._fd, 0)
        self.save_state(self.ahead)

    def _read_state(self) -> dict[str, Any] | None:
        try:
            found = json.loads(read_file(self._state))
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) and found.get("version") == VERSION else None

    def _count_lines(self) -> None:
        """Count the whole lines, and cut off what is torn at the end."""
        end = 0
        with open(os.dup(self._fd), "rb") as file:
            file.seek(0)
            for line, after in _lines(file):
                row = _row_of(line)
                if row is None:
                    if file.read(1):
                        raise UsageError(
                            _("line {line:,} is no row.", line=self.counts.rows + 1),
                            where=one_line(self.path, 300),
                            hint=_("Choose another -o, or begin anew with --force."),
                        )
                    break
                self.counts.add(row.get(self._job.field), self._problem_of(row))
                end = after
        os.ftruncate(self._fd, end)

    def _problem_of(self, row: Mapping[str, Any]) -> str:
        return str(row.get(f"{self._job.field}_problem", row.get("problem", "")) or "")

    def know_model(self, model: Mapping[str, Any]) -> None:
        """Take down the model once all of it is here.

        Raises:
            UsageError: the rows that are there were made by another.
        """
        if self.counts.rows and (differs := _model_differs(self._made_of["model"], model)) is not None:
            raise _begun_otherwise([differs], self.path)
        self._made_of["model"] = json.loads(json.dumps(model))

    # ---- what is added ------------------------------------------------------------------------------------

    def write(self, lines: Sequence[bytes]) -> None:
        """Add lines, each with its newline.

        Raises:
            DiskFullError: there is no room; what was written of the last line is taken back.
        """
        block = memoryview(b"".join(lines))
        begun = os.fstat(self._fd).st_size
        done = 0
        try:
            while done < len(block):
                done += os.write(self._fd, block[done:])
        except OSError as error:
            whole = bytes(block[:done]).rfind(b"\n") + 1
            os.ftruncate(self._fd, begun + whole)
            raise _cannot_write(self.path, error) from None

    def save_state(self, ahead: Mapping[int, Any] | None = None) -> None:
        """Keep what the file is made of, how many rows it will have, and values that wait for their turn."""
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
            part.replace(self._state)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise _cannot_write(self._state, error) from None

    def finish(self) -> None:
        """Everything is there: see that it is on the disk."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise _cannot_write(self.path, error) from None

    def discard(self) -> None:
        """Take back a file that was made for nothing."""
        if self._new and not os.fstat(self._fd).st_size:
            self._state.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file; another process may go on with it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def check_target(path: Path) -> None:
    """Raise `UsageError` where no file can be written."""
    where = one_line(path, 300)
    if str(path) == "-":
        raise UsageError(
            _("is no file, and what was predicted could not go on after a break."),
            where="-o -",
            hint=_("Give a name that ends in .jsonl."),
        )
    if path.is_dir():
        raise UsageError(_("is a folder."), where=where, hint=_("Give a name that ends in .jsonl."))
    if not path.parent.is_dir():
        raise UsageError(
            _("no such folder."), where=one_line(path.parent, 300), hint=_("Make it, or choose another -o.")
        )
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise UsageError(_("is no regular file."), where=where, hint=_("Choose another -o."))


def _locked(path: Path) -> int:
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
            hint=_("Wait for it, end it, or choose another -o."),
        ) from None
    except OSError:
        pass  # a file system without locks
    return fd


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Lines that end, and where each does."""
    at = 0
    for line in file:
        at += len(line)
        if line.endswith(b"\n"):
            yield line, at


def _row_of(line: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _cannot_write(path: Path, error: OSError) -> DiskFullError:
    return DiskFullError(
        _("cannot be written: {problem}.", problem=error.strerror),
        where=one_line(path, 300),
        hint=_("Make room; the same command goes on where it ended."),
    )


def _check_same(before: Any, now: Mapping[str, Any], path: Path) -> None:
    """Raise `UsageError` where an output was begun from something else than what is asked now."""
    before = before if isinstance(before, dict) else {}
    differs: list[str] = []
    if (model := _model_differs(before.get("model"), now["model"])) is not None:
        differs.append(model)
    if before.get("input") != now["input"]:
        differs.append(_input_differs(before.get("input"), now["input"]))
    options = before.get("options") if isinstance(before.get("options"), dict) else {}
    for name, value in now["options"].items():
        if options.get(name) != value:
            said = one_line(orjson.dumps(options.get(name)).decode(), 60)
            differs.append(_("{option} was {before}", option=FLAGS.get(name, name), before=said))
    if differs:
        raise _begun_otherwise(differs, path)


def _begun_otherwise(differs: Sequence[str], path: Path) -> UsageError:
    return UsageError(
        _("was begun otherwise: {differences}.", differences="; ".join(differs)),
        where=one_line(path, 300),
        hint=_("Ask as before to go on, choose another -o, or begin anew with --force."),
    )


def _model_differs(before: Any, now: Mapping[str, Any]) -> str | None:
    """How the model differs; what it is called here is no difference."""
    before = before if isinstance(before, dict) else {}
    other = [name for name in now if name not in ("name", "base") and before.get(name) != now[name]]
    if not other:
        bases = {one["base"] for one in (before, now) if one.get("base")}  # older versions took none down
        if len(bases) < 2:
            return None
        return _("{name} began with other weights (--base)", name=one_line(now["name"], 80))
    if other == ["files"]:
        return _("the model {name} has changed since", name=one_line(now["name"], 80))
    return _("the model was {before}", before=one_line(before.get("name", ""), 80))


def _input_differs(before: Any, now: Sequence[Sequence[Any]]) -> str:
    known = (
        {one[0]: one for one in before if isinstance(one, list) and one} if isinstance(before, list) else {}
    )
    for one in now:
        if one[0] not in known:
            return _("{file} was not among its files", file=one_line(one[0], 200))
        if known[one[0]] != list(one):
            return _("{file} has changed since", file=one_line(one[0], 200))
    return _("it was made of more files, or of others")
