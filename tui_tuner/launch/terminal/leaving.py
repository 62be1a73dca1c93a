"""The way out of a process with a screen: it works whatever the screen, its event loop or the terminal does.

SIGTERM and SIGINT end the process, and the run in it is saved first; SIGHUP, a terminal that hangs up and a
waiter that is gone take the screen away, and a run goes on without it. A thread hears of all of them.
Python's own handlers would not do: the event loop's run when the loop turns, and others when the main thread
comes back from C. The thread reads the socket that the handler in C writes each signal's number to, asks the
screen to close, and a second later does without it: the waiter gives the terminal back, the run keeps the
process, and otherwise nothing does.

Where even this thread gets no turn, because code in C holds the interpreter, the waiter sees to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from tui_tuner.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from tui_tuner.launch.terminal.state import TerminalState, hung_up
from tui_tuner.launch.terminal.waiter import ENDING, GAVE_UP, Line, going_on_words, saving_words

SCREEN_HAS = 1.0  # seconds for a screen to close after a signal
QUIT_HAS = 3.0  # and after its own key, with threads that still read something
RUN_HAS = 1.5  # seconds after a signal in which a run may end before the shell is told that it is saving
_AGAIN = 0.3  # seconds in which a second signal of a kind is the same one, by way of the waiter
_IMPATIENT = 3
_LOOK = 0.1
_CODES: dict[int, int] = {signal.SIGTERM: EXIT_TERMINATED, signal.SIGINT: EXIT_INTERRUPTED}


class HostedRun(Protocol):
    """A run in a thread of this process (`launch.thread.ThreadHost`)."""

    folder: Any
    control: Any
    outcome: Any

    @property
    def alive(self) -> bool: ...

    def join(self, timeout: float | None = None) -> None: ...


class ScreenLost(KeyboardInterrupt):
    """Raised in a main thread that does not come out of its screen: an event loop passes this one on."""


@dataclass
class Screen:
    """What the way out knows of the screen.

    Args:
        close: Asks it to close; called in another thread, with whether the terminal is gone.
        host: The run that this process trains, if it does.
        mute: Has it write nothing more to the terminal.
    """

    close: Callable[[bool], None]
    host: Callable[[], HostedRun | None]
    mute: Callable[[], None]


class WayOut:
    """Hears signals, the terminal and the waiter, and sees to it that the process ends or lives on for a run.

    Args:
        line: To the waiter; None where there is none, as in a test.
    """

    def __init__(self, line: Line | None = None) -> None:
        if line is None:
            reading, writing = socket.socketpair()
            writing.setblocking(False)
            self._signals, self._numbers = reading, writing
        else:
            self._signals, self._numbers = line.signals_in, line.signals_out
        self._line = line
        self.terminal = line.terminal if line else TerminalState()
        self.terminal_gone = False
        self.terminal_taken = False  # the waiter gave it back to the shell: keep off it
        self.signal = 0  # that this process was told to end by
        self._screen: Screen | None = None
        self._open = False  # whether the terminal is the screen's
        self._run = ""
        self._told_at: dict[int, float] = {}
        self._first_told = 0.0
        self._stops = 0
        self._deadline: float | None = None
        self._deciding = threading.Lock()  # held by whoever ends the process
        self._main_is_out = False  # of the screen
        self._listening = True

    # ---- what the screen tells -------------------------------------------------------------------------

    def begin(self) -> None:
        """Listen from now on; main thread only."""
        signal.set_wakeup_fd(self._numbers.fileno(), warn_on_full_buffer=False)
        for number in ENDING:
            signal.signal(number, _heard)
        threading.Thread(target=self._listen, name="way-out", daemon=True).start()

    def stand_down(self) -> None:
        """Listen no longer: whoever has called sees to the rest; main thread only."""
        self._listening = False
        self._deadline = None
        signal.set_wakeup_fd(-1)
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)

    def watch(self, screen: Screen) -> None:
        """This screen is asked to close from now on."""
        self._screen = screen
        if self.signal or self.terminal_gone:  # it came while the screen was being made
            screen.close(self.terminal_gone)

    def screen_opens(self) -> None:
        """The terminal is the screen's."""
        self._open = True
        self._say(screen=True)

    def screen_closed(self) -> None:
        """The terminal is as it was before."""
        if self._open:
            self._open = False
            self._say(screen=False)

    def run_here(self, name: str) -> None:
        """This run is on in this process; empty once none is."""
        if name != self._run:
            self._run = name
            self._say(run=name)

    def lost(self) -> None:
        """The terminal is gone: so is the screen, and a run goes on without it. From any thread."""
        if not self.terminal_gone:
            self.terminal_gone = True
            self._first_told = self._first_told or time.monotonic()
            if self.terminal_taken or hung_up(0):
                self._mute()
            self._close()

    def leaving(self) -> None:
        """The screen is about to close by itself; it has a while to do so."""
        if self._deadline is None:
            self._deadline = time.monotonic() + QUIT_HAS

    # ---- the end of the process ------------------------------------------------------------------------

    def end(self, code: int, gone: bool = False, words: str = "") -> int:
        """Once the screen has closed: stay for the run that is on here, and give the exit code.

        Args:
            code: For the shell, where no run ends with one of its own.
            gone: Whether nothing can be written to the terminal.
            words: A sentence for the shell before the usual one.
        """
        self._main_is_out = True
        while True:
            with contextlib.suppress(ScreenLost):  # one more, that was on its way
                self._deciding.acquire()  # kept: who comes second waits for the end of the process
                break
        self.terminal_gone |= gone
        self.screen_closed()
        found = self._stay(code, restore=False, words=words)
        self._deadline = time.monotonic() + QUIT_HAS  # threads that still read something are not waited for
        return found

    def _stay(self, code: int, restore: bool, words: str = "") -> int:
        host = self._host()
        code = self._code(code)
        if host is not None and host.alive and self.signal in _CODES:
            host.join(max(0.0, self._first_told + RUN_HAS - time.monotonic()))
        if host is None or not host.alive:
            if restore:
                self._release(code, True, words)
            elif words:
                self._print(words)
            return _code_of(host, code)
        name = host.folder.name
        if self.signal in _CODES:
            what = saving_words(name)
        else:
            what = going_on_words(name, paused=host.folder.state() == "paused")
        words = f"{words}\n{what}" if words else what
        self._deadline = None
        self._release(code, restore, words)
        while host.alive:
            host.join(0.5)
        return _code_of(host, code)

    def _release(self, code: int, restore: bool, words: str) -> None:
        """Have the shell go on: by way of the waiter, or by ourselves where it is gone."""
        words = "" if self.terminal_gone else words
        restore = restore and not self.terminal_taken
        if self._line is not None and self._line.release(code, restore, words):
            return
        if restore:
            self.terminal.restore()
        if self._line is None and words:
            self._print(words)

    def _print(self, words: str) -> None:
        if not self.terminal_gone and not self.terminal_taken:
            self.terminal.write(words.encode("utf-8", "replace") + b"\n")

    # ---- the thread ------------------------------------------------------------------------------------

    def _listen(self) -> None:
        while self._listening:
            try:
                self._listen_once()
            except Exception:  # there is nobody to tell, and nothing more important than to listen
                time.sleep(_LOOK)

    def _listen_once(self) -> None:
        poller = select.poll()
        poller.register(self._signals, select.POLLIN)
        if self._line is not None and not self.terminal_gone:
            poller.register(self._line.to_waiter, select.POLLIN)
        if self._open and not self.terminal_gone:
            poller.register(0, 0)  # only whether it hangs up
        ready = dict(poller.poll(_LOOK * 1000 if self._deadline is not None else 500))
        if self._signals.fileno() in ready:
            for number in self._signals.recv(4096):
                if number in ENDING:
                    self._told(number)
        if self._line is not None and self._line.to_waiter.fileno() in ready:
            self._waiter_left()
        if 0 in ready and hung_up(0):
            self.lost()
        host = self._host()
        self.run_here(host.folder.name if host is not None and host.alive else "")
        if self._listening and self._deadline is not None and time.monotonic() > self._deadline:
            self._do_without()

    def _told(self, number: int) -> None:
        now = time.monotonic()
        if now - self._told_at.get(number, -1.0) < _AGAIN:
            return
        self._told_at[number] = now
        self._first_told = self._first_told or now
        if number == signal.SIGHUP:
            self.lost()
            return
        self.signal = self.signal or number
        host = self._host()
        if host is not None and host.alive:
            host.control.request("stop", reason=signal.Signals(number).name)
        self._stops += 1
        if self._stops >= _IMPATIENT:
            self._end_now(128 + number)
        self._close()

    def _waiter_left(self) -> None:
        assert self._line is not None
        try:
            block = self._line.to_waiter.recv(64)
        except OSError:
            block = b""
        if GAVE_UP in block:
            self.terminal_taken = True
        elif not block and not self.terminal_taken and self._open and not hung_up(0):
            self._mute()
            self.terminal.restore()  # it was killed, and nobody else would
            self.terminal_taken = True
        self.lost()

    def _close(self) -> None:
        """Ask the screen to close; in vain, for it may be stuck."""
        if self._screen is None and not self._deciding.locked():  # nothing is on yet
            self._end_now(self._code())
        if self._deciding.locked():
            return
        self._deadline = min(self._deadline or float("inf"), time.monotonic() + SCREEN_HAS)
        if self._screen is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                self._screen.close(self.terminal_gone)

    def _do_without(self) -> None:
        """The screen has had its time."""
        self._deadline = None
        if not self._deciding.acquire(blocking=False):  # it has closed; something else holds the process up
            host = self._host()
            if host is None or not host.alive:
                self._end_now(_code_of(host, self._code()))
            return
        restore = self._open
        self._open = False
        self._mute()
        for work in (lambda: os._exit(self._stay(self._code(), restore)), self._free_main):
            threading.Thread(target=work, daemon=True).start()

    def _free_main(self) -> None:
        """Throw the main thread out of whatever it does, so that it leaves the interpreter to the run."""
        main = ctypes.c_ulong(threading.main_thread().ident or 0)
        while not self._main_is_out:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(ScreenLost))
            time.sleep(0.25)

    def _code(self, otherwise: int = 0) -> int:
        """For the shell: that of the signal, if one ends the process."""
        return _CODES.get(self.signal, otherwise)

    def _end_now(self, code: int) -> NoReturn:
        if self._open:
            self._release(code, True, "")
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)

    # ---- odds and ends ---------------------------------------------------------------------------------

    def _host(self) -> HostedRun | None:
        return self._screen.host() if self._screen is not None else None

    def _mute(self) -> None:
        if self._screen is not None:
            self._screen.mute()

    def _say(self, **words: Any) -> None:
        if self._line is not None:
            self._line.say(**words)


def _code_of(host: HostedRun | None, otherwise: int) -> int:
    """The exit code of a run that has ended."""
    return int(host.outcome.exit_code) if host is not None and host.outcome else otherwise


def _heard(_number: int, _frame: object) -> None:
    """Python calls it when it can; the work is done by the thread that reads the signal's number."""
