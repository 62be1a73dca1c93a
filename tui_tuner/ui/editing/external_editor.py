"""Runs the user's editor in the terminal of the workbench, which waits for it.

The editor is a separate job, as in a shell: keys that send signals reach only the editor, and stopping it
stops the workbench, too. The event loop keeps running meanwhile, so that a run here is followed and a signal
still ends the screen; nothing is painted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import termios
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.app import App

from tui_tuner.locales import _
from tui_tuner.text import one_line

_LINES = ("vi", "vim", "nvim", "view", "nano", "pico", "emacs", "emacsclient", "micro", "joe", "ne", "kak")
# Leave the alternate screen, show the cursor and reset colours, as a killed editor did not
_WRITES_AGAIN = b"\x1b[?1049l\x1b[?25h\x1b[0m"
_LOOK = 0.1
# Stops until it is the terminal's foreground job, then becomes the editor
_WAITS = 'kill -STOP $$; exec "$@"'


@dataclass(frozen=True)
class EditorCommand:
    """A command line; `trouble` says why it cannot be used."""

    words: tuple[str, ...] = ()
    trouble: str = ""

    def at_line(self, line: int) -> tuple[str, ...]:
        """Return the command that opens the editor at a line, if its option for that is known."""
        return (*self.words, f"+{line}") if line and Path(self.words[0]).name in _LINES else self.words


def find_editor() -> EditorCommand | None:
    """Return the editor set in the environment; None if none is set."""
    for name in ("VISUAL", "EDITOR"):
        said = os.environ.get(name, "").strip()
        if not said:
            continue
        try:
            words = shlex.split(said)
        except ValueError:
            return EditorCommand(
                trouble=_("${name} is not a command: {command}", name=name, command=one_line(said, 80))
            )
        if not words:
            continue
        words[0] = os.path.expanduser(words[0])
        if shutil.which(words[0]) is None:
            trouble = _(
                "${name} names a program that was not found: {command}", name=name, command=one_line(said, 80)
            )
            return EditorCommand(trouble=trouble)
        return EditorCommand(tuple(words))
    return None


async def edit_file_externally(app: App[Any], command: tuple[str, ...], path: Path) -> str:
    """Run an editor on a file until it exits. Returns why its text should not be used, or an empty string.

    Raises:
        OSError: the editor cannot be started.
    """
    driver: Any = app._driver
    with app.suspend():
        job = _EditorJob((*command, str(path)), driver.fileno, driver.output.fileno())
        try:
            job.start()
            status = await job.wait_for_end()
        finally:
            job.give_back()
    return _describe_status(Path(command[0]).name, status)


def _describe_status(name: str, status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(ValueError):
            return _("{editor} was ended by {signal}.", editor=name, signal=signal.Signals(number).name)
        return _("{editor} was ended by signal {number}.", editor=name, number=number)
    code = os.waitstatus_to_exitcode(status)
    return _("{editor} ended with code {code}.", editor=name, code=code) if code else ""


class _EditorJob:
    """A foreground process of the terminal, in its own process group."""

    def __init__(self, command: tuple[str, ...], keys: int, paint: int) -> None:
        self._command, self._keys, self._paint = command, keys, paint
        self._process: subprocess.Popen[bytes] | None = None
        self._before: list[Any] | None = None
        self._done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        with contextlib.suppress(termios.error):
            self._before = termios.tcgetattr(self._keys)
        kept = {number: signal.getsignal(number) for number in (signal.SIGTTIN, signal.SIGTTOU)}
        # A child inherits ignored signals, and an editor that ignores these two could not be stopped.
        for number in kept:
            signal.signal(number, signal.SIG_DFL)
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WAITS, "sh", *self._command],
                stdin=self._keys,
                stdout=self._paint,
                stderr=self._paint,
                process_group=0,
            )
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
        loop = asyncio.get_running_loop()
        # A thread, because waiting for a stopped child (WUNTRACED) has no counterpart in asyncio.
        threading.Thread(target=self._wait_for_process, args=(loop,), name="editor", daemon=True).start()

    async def wait_for_end(self) -> int:
        """Wait for the editor to exit and return its wait status."""
        return await self._done

    def _wait_for_process(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the editor in a separate thread; when it is stopped, stop this process as well."""
        assert self._process is not None
        pid, first = self._process.pid, True
        while True:
            try:
                _pid, status = os.waitpid(pid, os.WUNTRACED)
            except ChildProcessError:
                status = 0
            if not os.WIFSTOPPED(status):
                break
            # The first stop is that of the shell that waits for the terminal; later ones come from the user.
            if not first:
                self._put_in_front(os.getpgrp())
                self._stop_all()
            first = False
            self._put_in_front(pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT)
        # Popen did not see the exit, and would wait for a process id that may be reused.
        self._process.returncode = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._set_status, status)

    def _stop_all(self) -> None:
        """Stop this job like the editor, and return when the shell has brought it to the foreground again."""
        with contextlib.suppress(OSError):
            if os.getpgid(os.getppid()) == os.getpgrp():
                os.kill(os.getppid(), signal.SIGSTOP)  # the parent is the process that the shell waits for
        # To this thread: a signal to the process may stop it only after this thread has run some lines more.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        while not self._is_in_front():
            time.sleep(_LOOK)

    def _is_in_front(self) -> bool:
        try:
            return os.tcgetpgrp(self._keys) == os.getpgrp()
        except OSError:
            return True  # the terminal is gone: do not wait forever

    def _set_status(self, status: int) -> None:
        if not self._done.done():
            self._done.set_result(status)

    def _put_in_front(self, group: int) -> None:
        with contextlib.suppress(OSError):  # not our controlling terminal
            os.tcsetpgrp(self._keys, group)

    def give_back(self) -> None:
        """Restore the terminal; end the editor if the screen is closing."""
        process = self._process
        if process is not None and process.returncode is None:
            # SIGCONT follows because a stopped process does not receive SIGHUP before it continues.
            for number in (signal.SIGHUP, signal.SIGCONT):
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, number)
        self._put_in_front(os.getpgrp())
        killed = not self._done.done() or self._done.cancelled() or os.WIFSIGNALED(self._done.result())
        if killed:
            with contextlib.suppress(OSError):
                os.write(self._paint, _WRITES_AGAIN)
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._keys, termios.TCSANOW, self._before)
