"""The process that the shell waits for, and the connection to it from the process with the screen.

A training thread cannot move to another process. So the screen and its training thread run in a child from
the start, and the process that the shell knows, the waiter, only waits for it. To detach, the child leaves
the terminal's session and tells the waiter to exit.

The waiter can return the prompt and the terminal to the shell without the child: when the child is killed,
and when the child does not react to a signal because code in C holds the interpreter. It detects this by
peeking at the socket to which Python's signal handler in C writes each signal's number
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

from tui_tuner.launch.terminal.terminal_state import TerminalState
from tui_tuner.locales import _
from tui_tuner.text import one_line

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
UNREAD = 1.3  # seconds after which the waiter acts on a signal that the child has not read
LIMIT = 1.8  # seconds after which the shell gets its prompt, whatever the child does
GAVE_UP = b"x"  # tells the child that the shell has the terminal again
_GUARDED = 60.0  # seconds for a run to get the interpreter back before its process is killed
_LOOK = 0.1


@dataclass
class WaiterLine:
    """The child's connection to its waiter: a socket for messages, and one for signal numbers."""

    to_waiter: socket.socket
    signals_out: socket.socket  # the C handler's end
    signals_in: socket.socket  # read by the child, peeked at by the waiter
    terminal: TerminalState

    def send_words(self, **words: Any) -> bool:
        """Send a message to the waiter; return False if it has died.

        Args:
            words: `screen`, whether the screen has the terminal; `run`, the name of the active run or
                empty; `leave`, the exit code to end with at once, `restore`, whether to restore the terminal
                before, and `words`, a sentence for the shell.
        """
        try:
            self.to_waiter.sendall(json.dumps(words).encode() + b"\n", socket.MSG_NOSIGNAL)
            return True
        except OSError:
            return False

    def release_shell(self, code: int = 0, restore: bool = False, words: str = "") -> bool:
        """Leave the terminal's session and let the waiter exit; return False if it has died."""
        # setsid() fails if this process already leads a session
        with contextlib.suppress(OSError):
            os.setsid()
        return self.send_words(leave=code, restore=restore, words=words)


def fork_behind_waiter() -> WaiterLine:
    """Fork, and return only in the child, with its connection to the waiter; call before any thread exists.

    The parent passes on SIGTERM, SIGINT and SIGHUP, and exits with the child's exit code or as it is told.
    """
    terminal = TerminalState()
    ours, childs = socket.socketpair()
    signals_in, signals_out = socket.socketpair()
    # A signal that comes before the waiter listens would end it, and never reach the child
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    child = os.fork()
    if child:
        childs.close()
        signals_out.close()
        os._exit(Waiter(child, ours, signals_in, terminal).wait_for_child(before))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    ours.close()
    # The C handler must never block: it would hang the thread that got the signal
    signals_out.setblocking(False)
    return WaiterLine(childs, signals_out, signals_in, terminal)


class Waiter:
    """Waits for a child with a screen, and returns the terminal to the shell."""

    def __init__(
        self, child: int, line: socket.socket, signals: socket.socket, terminal: TerminalState
    ) -> None:
        self._child, self._line, self._signals, self._terminal = child, line, signals, terminal
        self._heard = b""
        self._screen = False
        self._run = ""
        self._code: int | None = None  # the exit code that the child sent
        self._told: tuple[int, float] | None = None  # the first signal received, and when
        self._unread_since: float | None = None

    def wait_for_child(self, mask: Iterable[int] = ()) -> int:
        """Wait for the child; return the exit code.

        Args:
            mask: The signal mask to restore once signals are handled here.
        """
        with _redirect_signals() as wake:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            while True:
                code = self._check_child()
                if code is not None:
                    return code
                self._wait_for_news(wake)

    def _check_child(self) -> int | None:
        ended, status = os.waitpid(self._child, os.WNOHANG)
        if ended:
            self._read_messages()
            return self._code if self._code is not None else self._child_ended(status)
        if self._code is not None:
            return self._code
        now = time.monotonic()
        waiting = self._peek_unread()
        if not waiting:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        if self._told is not None and now - self._told[1] > LIMIT:
            return self._give_up(self._told[0], guard=bool(waiting))
        if self._unread_since is not None and now - self._unread_since > UNREAD:
            return self._give_up(waiting[0], guard=True)
        return None

    def _wait_for_news(self, wake: int) -> None:
        """Wait for a signal or a message."""
        busy = self._told is not None or self._unread_since is not None
        reading = [wake, *([self._line.fileno()] if self._line.fileno() >= 0 else [])]
        if self._unread_since is None:
            reading.append(self._signals.fileno())
        ready, _unused, _unused = select.select(reading, [], [], _LOOK if busy else None)
        if self._signals.fileno() in ready and not self._peek_unread():
            time.sleep(
                _LOOK / 4
            )  # another signal, such as a resized window, which the child will read in a moment
        if wake in ready:
            for number in os.read(wake, 512):
                self._pass_on(number)
        if self._line.fileno() in ready:
            self._read_messages()

    def _pass_on(self, number: int) -> None:
        # Ends the child at once; this process stays to restore the terminal
        if number == signal.SIGQUIT:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, number)
        elif number in ENDING:
            self._told = self._told or (number, time.monotonic())
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, number)

    def _read_messages(self) -> None:
        """Read and obey the messages of the child that have arrived."""
        while self._line.fileno() >= 0 and select.select([self._line], [], [], 0)[0]:
            try:
                block = self._line.recv(65536)
            except OSError:
                block = b""
            if not block:
                # The child is ending
                self._line.close()
                return
            *lines, self._heard = (self._heard + block).split(b"\n")
            for line in lines:
                self._obey_message(json.loads(line))

    def _obey_message(self, message: dict[str, Any]) -> None:
        self._screen = message.get("screen", self._screen)
        self._run = message.get("run", self._run)
        if "leave" in message:
            self._code = message["leave"]
            self._write_words(message["words"], restore=message["restore"])

    def _peek_unread(self) -> list[int]:
        """Return ending signals that the child has not read yet; none once it has ended."""
        try:
            block = self._signals.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return []
        return [number for number in block if number in ENDING]

    def _child_ended(self, status: int) -> int:
        if os.WIFEXITED(status):
            self._write_words("", restore=self._screen)
            return os.waitstatus_to_exitcode(status)
        number = os.WTERMSIG(status)
        words = ""
        if self._run:
            words = _(
                "The process with the screen and the run {name} was killed by {signal}. "
                "Resume the run with: tui-tuner resume {name}",
                name=one_line(self._run),
                signal=_name_signal(number),
            )
        elif self._screen and number not in ENDING:
            words = _("The process with the screen was killed by {signal}.", signal=_name_signal(number))
        self._write_words(words, restore=self._screen)
        return 128 + number

    def _give_up(self, number: int, guard: bool) -> int:
        """Return the terminal to the shell although the child does not end; kill it unless it has a run."""
        self._read_messages()
        if self._code is not None:
            return self._code
        with contextlib.suppress(OSError):
            self._line.sendall(GAVE_UP, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if not self._run:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            self._write_words("", restore=self._screen)
            return 128 + number
        if guard:
            self._leave_guard()
            words = _(
                "run {name} was told to save and stop, but its process does not respond; it will be killed "
                "in "
                "{seconds:.0f} s. Then resume it with: tui-tuner resume {name}",
                name=one_line(self._run),
                seconds=_GUARDED,
            )
        elif number == signal.SIGHUP:
            words = describe_continuing_run(self._run)
        else:
            words = describe_saving_run(self._run)
        self._write_words(words, restore=self._screen)
        return 128 + number

    def _leave_guard(self) -> None:
        """Leave a process behind that kills the child if it never reads its signal."""
        if os.fork():
            return
        os.setsid()
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        # The guard must not keep the terminal open, or the window could not close
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        self._line.close()
        until = time.monotonic() + _GUARDED
        while self._peek_unread():
            if time.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._child, signal.SIGKILL)
                break
            time.sleep(1)
        os._exit(0)

    def _write_words(self, words: str, restore: bool) -> None:
        if restore:
            self._terminal.restore_terminal()
        if words:
            self._terminal.write_block(words.encode("utf-8", "replace") + b"\n")


def describe_continuing_run(name: str, paused: bool = False) -> str:
    """Describe a run that continues or stays paused without its screen."""
    if paused:
        return _(
            "run {name} stays paused; `tui-tuner continue {name}` continues it, and "
            "`tui-tuner attach {name}` shows it",
            name=one_line(name),
        )
    return _("run {name} is still running; watch it with `tui-tuner attach {name}`", name=one_line(name))


def describe_saving_run(name: str) -> str:
    """Describe a run that needs longer to save than the shell should wait."""
    return _(
        "run {name} is saving and will then stop; watch it with `tui-tuner attach {name}`",
        name=one_line(name),
    )


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


@contextmanager
def _redirect_signals() -> Iterator[int]:
    """Redirect signals to a file descriptor, as numbers, instead of their default action."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGQUIT, *ENDING):
        signal.signal(number, lambda *_unused: None)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(-1)
