"""Keeping what libraries print off the screen, and in the run's log.

Libraries write to `sys.stderr`, to old log handlers, or straight to file descriptors 1 and 2 from C. Any of
it would corrupt a live screen or the JSON on standard output, so both descriptors point at a file while a run
is on, and whoever may speak to the user gets a copy of the real ones.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

from tui_tuner.errors import RunError
from tui_tuner.locales import _
from tui_tuner.runs.private import open_private
from tui_tuner.text import one_line

_LONGEST_LINE = 65536  # characters kept back while a line is not ended


@dataclass(frozen=True)
class Terminal:
    """The real standard output and standard error, while descriptors 1 and 2 point at a log."""

    out: TextIO
    err: TextIO


class Writer:
    """Writes lines to a stream, and goes quiet when the reader or the terminal is gone (`gone`)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone = False
        self.problem: OSError | None = None  # why, if it is not that the reader has left

    def __call__(self, line: str) -> None:
        self.lines([line])

    def lines(self, lines: Sequence[str]) -> None:
        """Write these at once."""
        if self.gone or not lines:
            return
        try:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()
        except OSError as error:
            self.gone = True
            self.problem = None if isinstance(error, BrokenPipeError) else error
        except ValueError:  # closed
            self.gone = True


@contextmanager
def captured(log: Path | None) -> Iterator[Terminal]:
    """Point descriptors 1 and 2 at `log` (or nowhere), and give the real ones to the body.

    `sys.__stdout__` and `sys.__stderr__` are the real ones too while this lasts, for Textual draws on those.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    real = Terminal(_copy(1), _copy(2))
    saved = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
    target = redirect(log)
    sys.stdout = sys.stderr = cast(TextIO, _ScrubbedStream(target))
    sys.__stdout__, sys.__stderr__ = real.out, real.err  # type: ignore[misc,assignment]
    try:
        yield real
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = saved  # type: ignore[misc,assignment]
        _quietly_flush(real)
        os.dup2(real.out.fileno(), 1)
        os.dup2(real.err.fileno(), 2)


def redirect(log: Path | None) -> int:
    """Point descriptors 1 and 2 at the end of `log`; the way to move to another run's log. Returns 1."""
    fd = os.open(os.devnull, os.O_WRONLY) if log is None else open_log(log)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    return 1


def open_log(log: Path) -> int:
    """A descriptor that appends to a log.

    Raises:
        RunError: it cannot be written.
    """
    try:
        return open_private(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except OSError as error:
        raise RunError(
            _("the log cannot be written: {problem}.", problem=error.strerror),
            where=one_line(log),
            hint=_("Move away what is there, and look at its permissions."),
        ) from None


class _ScrubbedStream(io.TextIOBase):
    """A stream to a log: masks tokens and passwords, line by line, and is silent if the disk is full.

    An error from here would end up in the middle of whatever library printed something.
    """

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._line = ""
        self._lock = threading.RLock()
        self.buffer = io.FileIO(fd, "wb", closefd=False)

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            whole, newline, rest = (self._line + text).rpartition("\n")
            self._line = rest
            if len(rest) > _LONGEST_LINE:
                whole, newline, self._line = whole + newline + rest, "", ""
            self._put(whole + newline)
        return len(text)

    def flush(self) -> None:
        with self._lock:
            text, self._line = self._line, ""
            self._put(text)

    def _put(self, text: str) -> None:
        if not text:
            return
        from tui_tuner.runs.secrets import scrubber

        block = scrubber().text(text).encode("utf-8", "replace")
        try:
            while block:
                block = block[os.write(self._fd, block) :]
        except OSError:
            return


def open_missing_streams() -> None:
    """Give this process the standard streams that whoever started it (cron, a service) has closed.

    A file opened later would get the number of a closed one, and whatever a library prints would land in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
            taken = getattr(sys, name) is None  # by a file that was opened since, and is not ours to print on
        except OSError:
            taken = False
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            source = os.open(os.devnull, os.O_RDWR) if taken else number
            stream = open(source, mode, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def scrub_streams() -> None:
    """Mask secrets in what this process writes to its standard streams, where they already are a log."""
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stdout, sys.stderr = cast(TextIO, _ScrubbedStream(1)), cast(TextIO, _ScrubbedStream(2))


def _copy(fd: int) -> TextIO:
    try:
        copy = os.dup(fd)
    except OSError:  # closed by whoever started us
        copy = os.open(os.devnull, os.O_WRONLY)
    return _stream(copy, close=True)


def _stream(fd: int, close: bool) -> TextIO:
    return open(fd, "w", encoding="utf-8", errors="replace", buffering=1, closefd=close)


def _quietly_flush(real: Terminal) -> None:
    for stream in (real.out, real.err):
        try:
            stream.flush()
        except OSError:  # the terminal is gone
            continue
