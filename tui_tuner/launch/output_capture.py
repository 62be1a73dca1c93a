"""Redirects the output of libraries from the screen to the run's log.

Libraries write to `sys.stderr`, to old log handlers, or from C directly to file descriptors 1 and 2. This
would corrupt a live screen or the JSON on standard output, so both descriptors point to a file during a run,
and code that writes to the user gets copies of the real ones.
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
from tui_tuner.runs.private_files import open_private
from tui_tuner.text import one_line

_LONGEST_LINE = 65536  # characters of an unfinished line that are held back


@dataclass(frozen=True)
class Terminal:
    """The real standard output and standard error, while descriptors 1 and 2 point to a log."""

    out: TextIO
    err: TextIO


class Writer:
    """Writes lines to a stream, and stops silently when its reader or terminal is `gone`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone = False
        self.problem: OSError | None = None  # the error, unless the reader of a pipe has exited

    def __call__(self, line: str) -> None:
        self.write_lines([line])

    def write_lines(self, lines: Sequence[str]) -> None:
        """Write lines in one call."""
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
def capture_output(log: Path | None) -> Iterator[Terminal]:
    """Point descriptors 1 and 2 to `log` (or nowhere) during the body, which gets the real ones.

    `sys.__stdout__` and `sys.__stderr__` are the real ones, too, as Textual draws on those.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    real = Terminal(_copy_stream(1), _copy_stream(2))
    saved = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
    # Descriptors, not only sys.stdout: libraries in C write to 1 and 2 directly
    target = redirect_output(log)
    sys.stdout = sys.stderr = cast(TextIO, _ScrubbedStream(target))
    sys.__stdout__, sys.__stderr__ = real.out, real.err  # type: ignore[misc,assignment]
    try:
        yield real
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = saved  # type: ignore[misc,assignment]
        _flush_quietly(real)
        os.dup2(real.out.fileno(), 1)
        os.dup2(real.err.fileno(), 2)


def redirect_output(log: Path | None) -> int:
    """Point descriptors 1 and 2 to the end of `log`, also to switch to another run's log. Returns 1."""
    fd = os.open(os.devnull, os.O_WRONLY) if log is None else open_output_log(log)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    return 1


def open_output_log(log: Path) -> int:
    """Open a log for appending, and return its descriptor.

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
    """Writes to a log, masking tokens and passwords line by line; ignores errors such as a full disk.

    An exception from here would surface in the middle of the library that printed something.
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
            # Only whole lines are masked: a secret could be split over two writes
            whole, newline, rest = (self._line + text).rpartition("\n")
            self._line = rest
            if len(rest) > _LONGEST_LINE:
                whole, newline, self._line = whole + newline + rest, "", ""
            self._write_scrubbed(whole + newline)
        return len(text)

    def flush(self) -> None:
        with self._lock:
            text, self._line = self._line, ""
            self._write_scrubbed(text)

    def _write_scrubbed(self, text: str) -> None:
        if not text:
            return
        from tui_tuner.runs.secrets import get_current_scrubber

        block = get_current_scrubber().mask_text(text).encode("utf-8", "replace")
        try:
            while block:
                block = block[os.write(self._fd, block) :]
        except OSError:
            return


def open_missing_streams() -> None:
    """Open the standard streams that the parent process (cron, a service) has closed.

    Otherwise a file opened later would get the number of a closed one, and libraries would print into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
            taken = (
                getattr(sys, name) is None
            )  # by a file that was opened since, which must not be written to
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


def scrub_output_streams() -> None:
    """Mask secrets in the standard streams of a process whose streams already point to a log."""
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stdout, sys.stderr = cast(TextIO, _ScrubbedStream(1)), cast(TextIO, _ScrubbedStream(2))


def _copy_stream(fd: int) -> TextIO:
    try:
        copy = os.dup(fd)
    except OSError:
        # The parent process may have closed the stream
        copy = os.open(os.devnull, os.O_WRONLY)
    return _open_stream(copy, close=True)


def _open_stream(fd: int, close: bool) -> TextIO:
    return open(fd, "w", encoding="utf-8", errors="replace", buffering=1, closefd=close)


def _flush_quietly(real: Terminal) -> None:
    for stream in (real.out, real.err):
        try:
            stream.flush()
        except OSError:
            # The terminal may have been closed
            continue
