"""Real processes with a screen on a pseudo-terminal, and odd things done to them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()][A-Za-z0-9]|[=>NOPX^_c])")
ENTERED = b"\x1b[?1049h"  # the screen is taken
LEFT = b"\x1b[?1049l"  # the screen has been left


class Terminal:
    """A command in the foreground of a pseudo-terminal of 80x24, with whatever it has painted."""

    def __init__(self, folder: Path, *command: str, **environment: str) -> None:
        self.raw = b""
        self.folder = folder
        self.pid, self.fd = pty.fork()
        if not self.pid:
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)  # a shell may have us ignore some, as nohup does
            os.chdir(folder)
            os.environ.update(
                {
                    "TERM": "xterm-256color",
                    "PYTHONPATH": str(ROOT),
                    "TUI_TUNER_CONFIG_DIR": str(folder / "preferences"),
                    "TEXTUAL_ANIMATIONS": "none",
                    **environment,
                }
            )
            os.execvp(command[0], command)
        os.set_inheritable(self.fd, False)  # another one would keep this terminal open
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._status: int | None = None

    def read(self, seconds: float = 0.05) -> bytes:
        """Take what it paints, for so long; returns all of it so far."""
        until = time.monotonic() + seconds
        while select.select([self.fd], [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                block = os.read(self.fd, 65536)
            except OSError:
                block = b""
            if not block:
                break
            self.raw += block
        return self.raw

    def text(self) -> str:
        """What it has painted, without what commands the terminal; lines are not told apart."""
        return _SEQUENCE.sub(b"", self.raw).decode("utf-8", "replace")

    def until(self, found: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not found():
            assert time.monotonic() < deadline, f"no {what}; the screen says {self.text()[-2000:]}"
            if self.fd >= 0:
                self.read()
            else:
                time.sleep(0.05)

    def shows(self, words: str, seconds: float = 60.0) -> None:
        self.until(lambda: words in self.text(), words, seconds)

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def odd(self, what: str) -> None:
        """Have `tests.ui.odd_app` do something odd."""
        (self.folder / "odd").write_text(what)
        self.press("\x1b[17~")

    def modes(self) -> int:
        """Whether keys are echoed and lines are collected: 0 while a screen has the terminal."""
        return int(termios.tcgetattr(self.fd)[3] & (termios.ECHO | termios.ICANON))

    def exit_code(self, seconds: float = 30.0) -> int:
        """The exit code of the command, as a shell gives it; fails if it has not ended by then."""
        deadline = time.monotonic() + seconds
        while self._status is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self._status = status
                break
            assert time.monotonic() < deadline, f"it goes on; the screen says {self.text()[-2000:]}"
            if self.fd >= 0:
                self.read(0.02)
        code = os.waitstatus_to_exitcode(self._status)
        if self.fd >= 0:
            self.read(0.1)
        return code if code >= 0 else 128 - code

    def hang_up(self) -> None:
        """Close the terminal, as a window that is closed or a connection that is lost."""
        os.close(self.fd)
        self.fd = -1

    def processes(self) -> list[psutil.Process]:
        """What was started in this test's folder and lives."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.cwd() == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def end(self) -> None:
        """Kill what is left."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            if self._status is None:
                os.waitpid(self.pid, 0)
        if self.fd >= 0:
            os.close(self.fd)


def python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)
