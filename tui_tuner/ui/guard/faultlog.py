"""The workbench's fault log: a private file of bounded size that holds full tracebacks.

Tracebacks are plain text, never rendered by a library: a deep one with the values of its variables would
block the screen for minutes. Very long ones are cut in the middle.
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

from tui_tuner.runs.private_files import open_private

_FILE = "workbench.log"
_MOST_BYTES = 1 << 20  # then the file is renamed and a new one started
_MOST_ENTRY = 64 * 1024  # characters
_MOST_FRAMES = 150  # at each end of one traceback
_MOST_ERRORS = 6  # of a chain
_MOST_MESSAGE = 2000  # characters of an error's own text


def find_fault_log() -> Path:
    """Return the path of the log; `TUI_TUNER_CONFIG_DIR` overrides its folder."""
    folder = os.environ.get("TUI_TUNER_CONFIG_DIR")
    if folder:
        return Path(folder) / _FILE
    from platformdirs import user_log_path

    return user_log_path("tui-tuner", appauthor=False) / _FILE


class FaultLog:
    """Write entries from any thread, without ever raising.

    Args:
        path: The file; None uses the platform's log folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._given = path
        self._lock = threading.Lock()

    @property
    def file_path(self) -> Path:
        return self._given or find_fault_log()

    def record_fault(self, title: str, error: BaseException | None = None, text: str = "") -> str:
        """Write an entry and return the path of the file, or an empty string if it cannot be written."""
        # Reporting a fault must not raise a second one, whatever the disk or the error's own `str` does.
        with contextlib.suppress(Exception):
            entry = f"{time.strftime('%Y-%m-%d %H:%M:%S%z')} pid {os.getpid()}: {title}\n"
            entry += format_tracebacks(error) if error is not None else ""
            return self._append_entry(entry + (f"{text.rstrip()}\n" if text else ""))
        return ""

    def _append_entry(self, entry: str) -> str:
        from tui_tuner.runs.secrets import get_current_scrubber

        if len(entry) > _MOST_ENTRY:
            half = _MOST_ENTRY // 2
            entry = f"{entry[:half]}\n  […]\n{entry[-half:]}"
        # Error texts may quote URLs and headers, and with them access tokens.
        block = (get_current_scrubber().mask_text(entry) + "\n").encode("utf-8", "replace")
        with self._lock:
            path = self.file_path
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = _open_log(path)
            try:
                # Rotated before writing, so that an entry is never split over two files.
                if os.fstat(fd).st_size + len(block) > _MOST_BYTES:
                    os.close(fd)
                    os.replace(path, path.with_name(f"{path.name}.1"))
                    fd = _open_log(path)
                os.write(fd, block)
            finally:
                os.close(fd)
        return str(path)


def _open_log(path: Path) -> int:
    """Open the log for appending.

    Raises:
        OSError: the file cannot be written, or is not a regular file owned by this user.
    """
    fd = open_private(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    status = os.fstat(fd)
    if status.st_uid != os.getuid():
        os.close(fd)
        raise OSError(f"{path} is not a file of this user")
    # An older version or a copied home folder may have left the log readable for others.
    if status.st_mode & 0o077:
        os.fchmod(fd, 0o600)
    return fd


def format_tracebacks(error: BaseException) -> str:
    """Return the tracebacks of an error and its causes as text, cut in the middle if they are long."""
    out = io.StringIO()
    for index, one in enumerate(_list_causes(error)):
        if index:
            out.write("which came from\n")
        frames = list(traceback.walk_tb(one.__traceback__))
        cut = len(frames) - 2 * _MOST_FRAMES
        parts = [frames] if cut <= 0 else [frames[:_MOST_FRAMES], frames[-_MOST_FRAMES:]]
        for number, part in enumerate(parts):
            if number:
                out.write(f"  [{cut} more frames]\n")
            out.writelines(traceback.StackSummary.extract(iter(part)).format())
        out.write(format_error_safely(one) + "\n")
    return out.getvalue()


def _list_causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    step: BaseException | None = error
    # Causes can form a circle: an error may be raised again from one that it led to.
    while step is not None and step not in found and len(found) < _MOST_ERRORS:
        found.append(step)
        step = step.__cause__ or (None if step.__suppress_context__ else step.__context__)
    return found


def format_error_safely(error: BaseException, most: int = _MOST_MESSAGE) -> str:
    """Return an error's type and message, even if its `__str__` raises."""
    kind = type(error).__name__
    try:
        words = str(error)
    except BaseException:
        words = ""
    if len(words) > most:
        words = words[:most] + "…"
    return f"{kind}: {words}" if words else kind


def format_thread_stacks(most: int = 60) -> str:
    """Return the current stack of each thread of this process, innermost call last."""
    import sys

    # Frames of other threads are only reachable by `_current_frames`, which knows no thread names.
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    out = io.StringIO()
    for ident, frame in sys._current_frames().items():
        out.write(f"thread {names.get(ident, ident)}\n")
        frames = list(itertools.islice(traceback.walk_stack(frame), most))
        out.writelines(traceback.StackSummary.extract(iter(frames[::-1])).format())
    return out.getvalue()
