"""Where faults of the workbench are written down: a private file of bounded size, with whole tracebacks.

A traceback is written as text, and never by a library that draws it: a deep one with the values of its
variables would hold up the screen for minutes. Even so it is cut in the middle where it is very long.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import threading
import time
import traceback
from pathlib import Path

from tui_tuner.runs.private import open_private

_FILE = "workbench.log"
_MOST_BYTES = 1 << 20  # then the file is set aside, and a new one begun
_MOST_ENTRY = 64 * 1024  # characters
_MOST_FRAMES = 150  # at each end of one traceback
_MOST_ERRORS = 6  # of a chain
_MOST_MESSAGE = 2000  # characters of an error's own text


def log_path() -> Path:
    """Where the file lives; `TUI_TUNER_CONFIG_DIR` moves it."""
    folder = os.environ.get("TUI_TUNER_CONFIG_DIR")
    if folder:
        return Path(folder) / _FILE
    from platformdirs import user_log_path

    return user_log_path("tui-tuner", appauthor=False) / _FILE


class FaultLog:
    """Writes entries; from any thread, and without ever raising.

    Args:
        path: The file; None is the platform's own place.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._given = path
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        return self._given or log_path()

    def note(self, title: str, error: BaseException | None = None, text: str = "") -> str:
        """Write an entry; returns the name of the file, empty where it cannot be written."""
        with contextlib.suppress(Exception):  # what is told of a fault must not be a second one
            entry = f"{time.strftime('%Y-%m-%d %H:%M:%S%z')} pid {os.getpid()}: {title}\n"
            entry += traceback_text(error) if error is not None else ""
            return self._write(entry + (f"{text.rstrip()}\n" if text else ""))
        return ""

    def _write(self, entry: str) -> str:
        from tui_tuner.runs.secrets import scrubber

        if len(entry) > _MOST_ENTRY:
            half = _MOST_ENTRY // 2
            entry = f"{entry[:half]}\n  […]\n{entry[-half:]}"
        block = (scrubber().text(entry) + "\n").encode("utf-8", "replace")
        with self._lock:
            path = self.path
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = _opened(path)
            try:
                if os.fstat(fd).st_size + len(block) > _MOST_BYTES:
                    os.close(fd)
                    os.replace(path, path.with_name(f"{path.name}.1"))
                    fd = _opened(path)
                os.write(fd, block)
            finally:
                os.close(fd)
        return str(path)


def _opened(path: Path) -> int:
    """The file, for appending.

    Raises:
        OSError: it cannot be written, or is not a plain file of this user's.
    """
    fd = open_private(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    status = os.fstat(fd)
    if status.st_uid != os.getuid():
        os.close(fd)
        raise OSError(f"{path} is not a file of this user")
    if status.st_mode & 0o077:
        os.fchmod(fd, 0o600)
    return fd


def traceback_text(error: BaseException) -> str:
    """The traceback of an error and of those that led to it, as text; cut in its middle if it is long."""
    out = io.StringIO()
    for index, one in enumerate(_chain(error)):
        if index:
            out.write("which came from\n")
        frames = list(traceback.walk_tb(one.__traceback__))
        cut = len(frames) - 2 * _MOST_FRAMES
        parts = [frames] if cut <= 0 else [frames[:_MOST_FRAMES], frames[-_MOST_FRAMES:]]
        for number, part in enumerate(parts):
            if number:
                out.write(f"  [{cut} more frames]\n")
            out.writelines(traceback.StackSummary.extract(iter(part)).format())
        out.write(error_text(one) + "\n")
    return out.getvalue()


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in found and len(found) < _MOST_ERRORS:
        found.append(step)
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    return found


def error_text(error: BaseException, most: int = _MOST_MESSAGE) -> str:
    """An error's kind and its own words, whatever becomes of asking it for them."""
    kind = type(error).__name__
    try:
        words = str(error)
    except BaseException:
        words = ""
    if len(words) > most:
        words = words[:most] + "…"
    return f"{kind}: {words}" if words else kind


def stacks_text(most: int = 60) -> str:
    """Where each thread of this process stands now, innermost call last."""
    import sys

    names = {thread.ident: thread.name for thread in threading.enumerate()}
    out = io.StringIO()
    for ident, frame in sys._current_frames().items():
        out.write(f"thread {names.get(ident, ident)}\n")
        frames = list(itertools.islice(traceback.walk_stack(frame), most))
        out.writelines(traceback.StackSummary.extract(iter(frames[::-1])).format())
    return out.getvalue()
