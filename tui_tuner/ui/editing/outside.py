"""An editor of the user's own in the terminal of the screen, which waits for it.

The editor is a job of its own, as a shell would have it: keys that are signals reach it alone, and stopping
it stops the workbench with it. The event loop turns meanwhile, so that a run that is on here is followed, and
a signal to end still ends the screen; nothing is painted.
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
_WRITES_AGAIN = b"\x1b[?1049l\x1b[?25h\x1b[0m"  # what a killed editor leaves undone
_LOOK = 0.1
# Stops until it has the terminal, and becomes the editor then
_WAITS = 'kill -STOP $$; exec "$@"'


@dataclass(frozen=True)
class Editor:
    """A command line; `trouble` says why it cannot be used."""

    words: tuple[str, ...] = ()
    trouble: str = ""

    def at_line(self, line: int) -> tuple[str, ...]:
        """The command line that begins at a line, where its option for that is known."""
        return (*self.words, f"+{line}") if line and Path(self.words[0]).name in _LINES else self.words


def find_editor() -> Editor | None:
    """The editor that the environment names; None where it names none."""
    for name in ("VISUAL", "EDITOR"):
        said = os.environ.get(name, "").strip()
        if not said:
            continue
        try:
            words = shlex.split(said)
        except ValueError:
            return Editor(
                trouble=_("${name} is not a command: {command}", name=name, command=one_line(said, 80))
            )
        if not words:
            continue
        words[0] = os.path.expanduser(words[0])
        if shutil.which(words[0]) is None:
            trouble = _(
                "${name} names a program that is not there: {command}", name=name, command=one_line(said, 80)
            )
            return Editor(trouble=trouble)
        return Editor(tuple(words))
    return None


async def edit(app: App[Any], command: tuple[str, ...], path: Path) -> str:
    """Run an editor on a file until it ends; gives why its text is not simply taken, empty for no reason.

    Raises:
        OSError: it cannot be started.
    """
    driver: Any = app._driver
    with app.suspend():
        job = _Job((*command, str(path)), driver.fileno, driver.output.fileno())
        try:
            job.start()
            status = await job.ended()
        finally:
            job.give_back()
    return _told(Path(command[0]).name, status)


def _told(name: str, status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(ValueError):
            return _("{editor} was ended by {signal}.", editor=name, signal=signal.Signals(number).name)
        return _("{editor} was ended by signal {number}.", editor=name, number=number)
    code = os.waitstatus_to_exitcode(status)
    return _("{editor} ended with code {code}.", editor=name, code=code) if code else ""


class _Job:
    """A process in front of the terminal, in a group of its own."""

    def __init__(self, command: tuple[str, ...], keys: int, paint: int) -> None:
        self._command, self._keys, self._paint = command, keys, paint
        self._process: subprocess.Popen[bytes] | None = None
        self._before: list[Any] | None = None
        self._done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        with contextlib.suppress(termios.error):
            self._before = termios.tcgetattr(self._keys)
        kept = {number: signal.getsignal(number) for number in (signal.SIGTTIN, signal.SIGTTOU)}
        for number in kept:  # what is ignored here would be ignored by the editor
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
        threading.Thread(target=self._wait, args=(loop,), name="editor", daemon=True).start()

    async def ended(self) -> int:
        """The status that it ended with."""
        return await self._done

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait in a thread of its own; when the editor is stopped, all of us are."""
        assert self._process is not None
        pid, first = self._process.pid, True
        while True:
            try:
                _pid, status = os.waitpid(pid, os.WUNTRACED)
            except ChildProcessError:
                status = 0
            if not os.WIFSTOPPED(status):
                break
            if not first:
                self._in_front(os.getpgrp())
                self._stop_all()
            first = False
            self._in_front(pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGCONT)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._say, status)

    def _stop_all(self) -> None:
        """Stop as the editor is; come back once the shell has put this job in front again."""
        with contextlib.suppress(OSError):
            if os.getpgid(os.getppid()) == os.getpgrp():
                os.kill(os.getppid(), signal.SIGSTOP)  # the process that the shell knows
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # to this thread: it goes no further
        while not self._is_in_front():
            time.sleep(_LOOK)

    def _is_in_front(self) -> bool:
        try:
            return os.tcgetpgrp(self._keys) == os.getpgrp()
        except OSError:
            return True  # no terminal any more: who waits would wait for ever

    def _say(self, status: int) -> None:
        if not self._done.done():
            self._done.set_result(status)

    def _in_front(self, group: int) -> None:
        with contextlib.suppress(OSError):  # no terminal of ours
            os.tcsetpgrp(self._keys, group)

    def give_back(self) -> None:
        """Take the terminal back, as it was; end the editor if the screen is closing."""
        process = self._process
        if process is not None and process.returncode is None:
            for number in (signal.SIGHUP, signal.SIGCONT):
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, number)
        self._in_front(os.getpgrp())
        killed = not self._done.done() or self._done.cancelled() or os.WIFSIGNALED(self._done.result())
        if killed:
            with contextlib.suppress(OSError):
                os.write(self._paint, _WRITES_AGAIN)
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._keys, termios.TCSANOW, self._before)
