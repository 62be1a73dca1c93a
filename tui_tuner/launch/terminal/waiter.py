"""The process that the shell waits for, and the end of the line to it that the screen's process holds.

A training thread cannot move to another process. So the screen and its training thread live in a child from
the start, and the process that the shell knows, the waiter, only waits for it. To detach, the child leaves
the terminal's session and tells the waiter to exit.

The waiter needs nothing of the child to give the shell its prompt and its terminal back: it does so when the
child is killed, and when a signal to end is not looked at, because code in C holds the interpreter. It sees
that by peeking at the socket to which Python's own signal handler, in C, writes each signal's number
(`signal.set_wakeup_fd`), and which the child's thread (`launch.terminal.leaving`) reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tui_tuner.launch.terminal.state import TerminalState
from tui_tuner.locales import _
from tui_tuner.text import one_line

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
UNREAD = 1.3  # seconds after which a signal that the child has not looked at is taken into our hands
LIMIT = 1.8  # and after which the shell gets its prompt, whatever the child does
GAVE_UP = b"x"  # told to the child: the terminal is the shell's again, keep off it
_GUARDED = 60.0  # seconds that a run has to get the interpreter back, before its process is killed
_LOOK = 0.1


@dataclass
class Line:
    """What the child has of its waiter: a socket to it, and the one for numbers of signals."""

    to_waiter: socket.socket
    signals_out: socket.socket  # the C handler's end
    signals_in: socket.socket  # read by the child, peeked at by the waiter
    terminal: TerminalState

    def say(self, **words: Any) -> bool:
        """Tell the waiter something; False once it is gone.

        Args:
            words: `screen`, whether the terminal is the screen's; `run`, the name of the run that is on
                here, or nothing; `leave`, the exit code to end with at once, `restore`, whether to give the
                terminal back before, and `words`, a sentence for the shell.
        """
        try:
            self.to_waiter.sendall(json.dumps(words).encode() + b"\n", socket.MSG_NOSIGNAL)
            return True
        except OSError:
            return False

    def release(self, code: int = 0, restore: bool = False, words: str = "") -> bool:
        """Leave the terminal's session, and have the waiter exit; False if it is gone already."""
        with contextlib.suppress(OSError):  # it leads a session already
            os.setsid()
        return self.say(leave=code, restore=restore, words=words)


def behind_waiter() -> Line:
    """Fork. Returns in the child only, with its line to the waiter; call before any thread exists.

    The parent passes SIGTERM, SIGINT and SIGHUP on, and exits with the child's exit code, or as it says.
    """
    terminal = TerminalState()
    ours, childs = socket.socketpair()
    signals_in, signals_out = socket.socketpair()
    # A signal that comes before the waiter listens would end it, and the child would hear of none
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    child = os.fork()
    if child:
        childs.close()
        signals_out.close()
        os._exit(Waiter(child, ours, signals_in, terminal).wait(before))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    ours.close()
    signals_out.setblocking(False)
    return Line(childs, signals_out, signals_in, terminal)


class Waiter:
    """Waits for a child that has a screen."""

    def __init__(
        self, child: int, line: socket.socket, signals: socket.socket, terminal: TerminalState
    ) -> None:
        self._child, self._line, self._signals, self._terminal = child, line, signals, terminal
        self._heard = b""
        self._screen = False
        self._run = ""
        self._code: int | None = None  # what the child told us to exit with
        self._told: tuple[int, float] | None = None  # the first signal that came here, and when
        self._unread_since: float | None = None

    def wait(self, mask: Iterable[int] = ()) -> int:
        """The exit code, once it is known.

        Args:
            mask: The signals to block once these are listened for.
        """
        with _own_signals() as wake:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            while True:
                code = self._look()
                if code is not None:
                    return code
                self._rest(wake)

    def _look(self) -> int | None:
        ended, status = os.waitpid(self._child, os.WNOHANG)
        if ended:
            self._hear()
            return self._code if self._code is not None else self._child_ended(status)
        if self._code is not None:
            return self._code
        now = time.monotonic()
        waiting = self._unread()
        if not waiting:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        if self._told is not None and now - self._told[1] > LIMIT:
            return self._give_up(self._told[0], guard=bool(waiting))
        if self._unread_since is not None and now - self._unread_since > UNREAD:
            return self._give_up(waiting[0], guard=True)
        return None

    def _rest(self, wake: int) -> None:
        """Wait until there is something to look at."""
        busy = self._told is not None or self._unread_since is not None
        reading = [wake, *([self._line.fileno()] if self._line.fileno() >= 0 else [])]
        if self._unread_since is None:
            reading.append(self._signals.fileno())
        ready, _unused, _unused = select.select(reading, [], [], _LOOK if busy else None)
        if self._signals.fileno() in ready and not self._unread():
            time.sleep(_LOOK / 4)  # a resized window; the child reads it in a moment
        if wake in ready:
            for number in os.read(wake, 512):
                self._pass_on(number)
        if self._line.fileno() in ready:
            self._hear()

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGQUIT:  # ends the child at once; this process stays to give the terminal back
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, number)
        elif number in ENDING:
            self._told = self._told or (number, time.monotonic())
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, number)

    def _hear(self) -> None:
        """What the child says, as far as it is there."""
        while self._line.fileno() >= 0 and select.select([self._line], [], [], 0)[0]:
            try:
                block = self._line.recv(65536)
            except OSError:
                block = b""
            if not block:
                self._line.close()  # it is ending
                return
            *lines, self._heard = (self._heard + block).split(b"\n")
            for line in lines:
                self._obey(json.loads(line))

    def _obey(self, message: dict[str, Any]) -> None:
        self._screen = message.get("screen", self._screen)
        self._run = message.get("run", self._run)
        if "leave" in message:
            self._code = message["leave"]
            self._speak(message["words"], restore=message["restore"])

    def _unread(self) -> list[int]:
        """Signals to end that the child has not looked at yet; none once it is gone."""
        try:
            block = self._signals.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return []
        return [number for number in block if number in ENDING]

    def _child_ended(self, status: int) -> int:
        if os.WIFEXITED(status):
            self._speak("", restore=self._screen)
            return os.waitstatus_to_exitcode(status)
        number = os.WTERMSIG(status)
        words = ""
        if self._run:
            words = _(
                "The process with the screen and the run {name} was ended by {signal}. "
                "Go on with: tui-tuner resume {name}",
                name=one_line(self._run),
                signal=_name(number),
            )
        elif self._screen and number not in ENDING:
            words = _("The process with the screen was ended by {signal}.", signal=_name(number))
        self._speak(words, restore=self._screen)
        return 128 + number

    def _give_up(self, number: int, guard: bool) -> int:
        """The child does not leave: without a run it is killed, with one it stays, and the shell goes on."""
        self._hear()
        if self._code is not None:
            return self._code
        with contextlib.suppress(OSError):
            self._line.sendall(GAVE_UP, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if not self._run:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            self._speak("", restore=self._screen)
            return 128 + number
        if guard:
            self._guard()
            words = _(
                "run {name} was told to save and end, and its process does not answer; it is killed after "
                "{seconds:.0f} s more. Go on then with: tui-tuner resume {name}",
                name=one_line(self._run),
                seconds=_GUARDED,
            )
        elif number == signal.SIGHUP:
            words = going_on_words(self._run)
        else:
            words = saving_words(self._run)
        self._speak(words, restore=self._screen)
        return 128 + number

    def _guard(self) -> None:
        """Leave a process behind that kills the child if it never looks at its signal."""
        if os.fork():
            return
        os.setsid()
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        self._line.close()
        until = time.monotonic() + _GUARDED
        while self._unread():
            if time.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._child, signal.SIGKILL)
                break
            time.sleep(1)
        os._exit(0)

    def _speak(self, words: str, restore: bool) -> None:
        if restore:
            self._terminal.restore()
        if words:
            self._terminal.write(words.encode("utf-8", "replace") + b"\n")


def going_on_words(name: str, paused: bool = False) -> str:
    """What the shell is told of a run that goes on, or stays paused, without its screen."""
    if paused:
        return _(
            "run {name} stays paused; `tui-tuner continue {name}` lets it go on, and "
            "`tui-tuner attach {name}` shows it",
            name=one_line(name),
        )
    return _("run {name} goes on; see it with `tui-tuner attach {name}`", name=one_line(name))


def saving_words(name: str) -> str:
    """What the shell is told where a run takes longer to save than one may wait."""
    return _(
        "run {name} is saving, and ends then; see it with `tui-tuner attach {name}`", name=one_line(name)
    )


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


@contextmanager
def _own_signals() -> Iterator[int]:
    """Have the numbers of signals come to a file descriptor, instead of being obeyed."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGQUIT, *ENDING):
        signal.signal(number, lambda *_unused: None)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(-1)
