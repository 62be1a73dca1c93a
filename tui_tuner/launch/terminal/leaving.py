"""Ends a process with a screen reliably, whatever the screen, its event loop or the terminal does.

SIGTERM and SIGINT end the process after its run is saved. SIGHUP, a terminal that hangs up and a waiter that
has died close the screen, and the run continues without it. A thread listens for all of them, as Python's own
handlers are not reliable: the event loop's run only when the loop turns, others only when the main thread
returns from C. The thread reads the socket to which the C handler writes each signal's number, asks the
screen to close, and continues without it after a second: the waiter restores the terminal, and the process
stays only for a run.

If code in C holds the interpreter, so that even this thread cannot run, the waiter takes over.
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
from tui_tuner.launch.terminal.terminal_state import TerminalState, has_hung_up
from tui_tuner.launch.terminal.waiter import (
    ENDING,
    GAVE_UP,
    WaiterLine,
    describe_continuing_run,
    describe_saving_run,
)

SCREEN_HAS = 1.0  # seconds for a screen to close after a signal
QUIT_HAS = 3.0  # seconds to close after its own key, with threads that may still be reading
RUN_HAS = 1.5  # seconds for a run to end after a signal, before the shell is told that it is saving
_AGAIN = 0.3  # seconds within which a second signal of a kind is the same one, passed on by the waiter
_IMPATIENT = 3
_LOOK = 0.1
_CODES: dict[int, int] = {signal.SIGTERM: EXIT_TERMINATED, signal.SIGINT: EXIT_INTERRUPTED}


class HostedRun(Protocol):
    """A run in a thread of this process (`launch.thread_host.ThreadHost`)."""

    folder: Any
    control: Any
    outcome: Any

    @property
    def is_alive(self) -> bool: ...

    def join_thread(self, timeout: float | None = None) -> None: ...


class ScreenLost(KeyboardInterrupt):
    """Raised in a main thread that is stuck in its screen; event loops do not catch KeyboardInterrupt."""


@dataclass
class Screen:
    """Callbacks of the screen.

    Args:
        close: Asks it to close; called in another thread, with whether the terminal was closed.
        host: Returns the run that this process trains, if any.
        mute: Stops it from writing to the terminal.
    """

    close: Callable[[bool], None]
    host: Callable[[], HostedRun | None]
    mute: Callable[[], None]


class WayOut:
    """Listens for signals, the terminal and the waiter, and ends the process or keeps it alive for a run.

    Args:
        line: The connection to the waiter; None without one, as in tests.
    """

    def __init__(self, line: WaiterLine | None = None) -> None:
        if line is None:
            reading, writing = socket.socketpair()
            writing.setblocking(False)
            self._signals, self._numbers = reading, writing
        else:
            self._signals, self._numbers = line.signals_in, line.signals_out
        self._line = line
        self.terminal = line.terminal if line else TerminalState()
        self.terminal_gone = False
        self.terminal_taken = False  # the waiter gave it back to the shell: do not touch it
        self.signal = 0  # the signal by which this process was told to end
        self._screen: Screen | None = None
        self._open = False  # whether the screen has the terminal
        self._run = ""
        self._told_at: dict[int, float] = {}
        self._first_told = 0.0
        self._stops = 0
        self._deadline: float | None = None
        self._deciding = threading.Lock()  # held by the thread that ends the process
        self._main_is_out = False  # whether the main thread has left the screen
        self._listening = True

    # ---- called by the screen -------------------------------------------------------------------------

    def start_listening(self) -> None:
        """Start listening; main thread only."""
        # The C handler writes the number at once, even while the main thread is inside C code
        signal.set_wakeup_fd(self._numbers.fileno(), warn_on_full_buffer=False)
        for number in ENDING:
            signal.signal(number, _ignore_signal)
        threading.Thread(target=self._listen_forever, name="way-out", daemon=True).start()

    def stand_down(self) -> None:
        """Stop listening, as the caller handles the rest; main thread only."""
        self._listening = False
        self._deadline = None
        signal.set_wakeup_fd(-1)
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)

    def set_screen(self, screen: Screen) -> None:
        """Set the screen to be closed."""
        self._screen = screen
        # A signal came while the screen was being created
        if self.signal or self.terminal_gone:
            screen.close(self.terminal_gone)

    def note_screen_opening(self) -> None:
        """Note that the screen takes the terminal."""
        self._open = True
        self._tell_waiter(screen=True)

    def note_screen_closed(self) -> None:
        """Note that the screen has restored the terminal."""
        if self._open:
            self._open = False
            self._tell_waiter(screen=False)

    def name_run(self, name: str) -> None:
        """Tell the waiter which run is active in this process; empty if none is."""
        if name != self._run:
            self._run = name
            self._tell_waiter(run=name)

    def handle_lost_terminal(self) -> None:
        """Handle a closed terminal: the screen closes, and a run continues without it. From any thread."""
        if not self.terminal_gone:
            self.terminal_gone = True
            self._first_told = self._first_told or time.monotonic()
            if self.terminal_taken or has_hung_up(0):
                self._mute_screen()
            self._ask_screen_to_close()

    def note_leaving(self) -> None:
        """Note that the screen is closing by itself, for which it has some seconds."""
        if self._deadline is None:
            self._deadline = time.monotonic() + QUIT_HAS

    # ---- the end of the process ------------------------------------------------------------------------

    def finish_process(self, code: int, gone: bool = False, words: str = "") -> int:
        """After the screen has closed, stay until the run of this process ends; return the exit code.

        Args:
            code: The exit code if there is no run.
            gone: Whether the terminal was closed.
            words: A sentence to print in the shell before the usual one.
        """
        self._main_is_out = True
        while True:
            # An exception may still be on its way from `_free_main`
            with contextlib.suppress(ScreenLost):
                # Never released: a second thread waits here until the process ends
                self._deciding.acquire()
                break
        self.terminal_gone |= gone
        self.note_screen_closed()
        found = self._stay_for_run(code, restore=False, words=words)
        # Do not wait for threads that still read
        self._deadline = time.monotonic() + QUIT_HAS
        return found

    def _stay_for_run(self, code: int, restore: bool, words: str = "") -> int:
        host = self._find_host()
        code = self._choose_code(code)
        if host is not None and host.is_alive and self.signal in _CODES:
            host.join_thread(max(0.0, self._first_told + RUN_HAS - time.monotonic()))
        if host is None or not host.is_alive:
            if restore:
                self._release_shell(code, True, words)
            elif words:
                self._print_words(words)
            return _find_exit_code(host, code)
        name = host.folder.name
        if self.signal in _CODES:
            what = describe_saving_run(name)
        else:
            what = describe_continuing_run(name, paused=host.folder.find_state() == "paused")
        words = f"{words}\n{what}" if words else what
        self._deadline = None
        self._release_shell(code, restore, words)
        while host.is_alive:
            host.join_thread(0.5)
        return _find_exit_code(host, code)

    def _release_shell(self, code: int, restore: bool, words: str) -> None:
        """Let the shell continue: through the waiter, or directly if it has died."""
        words = "" if self.terminal_gone else words
        restore = restore and not self.terminal_taken
        if self._line is not None and self._line.release_shell(code, restore, words):
            return
        if restore:
            self.terminal.restore_terminal()
        if self._line is None and words:
            self._print_words(words)

    def _print_words(self, words: str) -> None:
        if not self.terminal_gone and not self.terminal_taken:
            self.terminal.write_block(words.encode("utf-8", "replace") + b"\n")

    # ---- the thread ------------------------------------------------------------------------------------

    def _listen_forever(self) -> None:
        while self._listening:
            try:
                self._listen_once()
            except Exception:
                # Nothing can report it, and listening must never stop
                time.sleep(_LOOK)

    def _listen_once(self) -> None:
        poller = select.poll()
        poller.register(self._signals, select.POLLIN)
        if self._line is not None and not self.terminal_gone:
            poller.register(self._line.to_waiter, select.POLLIN)
        if self._open and not self.terminal_gone:
            # No events: poll always reports a hang-up
            poller.register(0, 0)
        ready = dict(poller.poll(_LOOK * 1000 if self._deadline is not None else 500))
        if self._signals.fileno() in ready:
            for number in self._signals.recv(4096):
                if number in ENDING:
                    self._handle_signal(number)
        if self._line is not None and self._line.to_waiter.fileno() in ready:
            self._handle_waiter_end()
        if 0 in ready and has_hung_up(0):
            self.handle_lost_terminal()
        host = self._find_host()
        self.name_run(host.folder.name if host is not None and host.is_alive else "")
        if self._listening and self._deadline is not None and time.monotonic() > self._deadline:
            self._leave_without_screen()

    def _handle_signal(self, number: int) -> None:
        now = time.monotonic()
        # Ctrl+C reaches both this process and the waiter, which passes it on
        if now - self._told_at.get(number, -1.0) < _AGAIN:
            return
        self._told_at[number] = now
        # The user's patience starts with the first signal, not with the last
        self._first_told = self._first_told or now
        if number == signal.SIGHUP:
            self.handle_lost_terminal()
            return
        self.signal = self.signal or number
        host = self._find_host()
        if host is not None and host.is_alive:
            host.control.request_command("stop", reason=signal.Signals(number).name)
        self._stops += 1
        # The third signal means: at once, without saving
        if self._stops >= _IMPATIENT:
            self._end_now(128 + number)
        self._ask_screen_to_close()

    def _handle_waiter_end(self) -> None:
        assert self._line is not None
        try:
            block = self._line.to_waiter.recv(64)
        except OSError:
            block = b""
        if GAVE_UP in block:
            self.terminal_taken = True
        elif not block and not self.terminal_taken and self._open and not has_hung_up(0):
            self._mute_screen()
            # The waiter was killed, so nothing else would
            self.terminal.restore_terminal()
            self.terminal_taken = True
        self.handle_lost_terminal()

    def _ask_screen_to_close(self) -> None:
        """Ask the screen to close, with a deadline, as it may be stuck."""
        # Nothing has started yet
        if self._screen is None and not self._deciding.locked():
            self._end_now(self._choose_code())
        if self._deciding.locked():
            return
        self._deadline = min(self._deadline or float("inf"), time.monotonic() + SCREEN_HAS)
        if self._screen is not None:
            # Its event loop is closed
            with contextlib.suppress(RuntimeError):
                self._screen.close(self.terminal_gone)

    def _leave_without_screen(self) -> None:
        """Continue without a screen that did not close in time."""
        self._deadline = None
        if not self._deciding.acquire(
            blocking=False
        ):  # the screen has closed; something else keeps the process from ending
            host = self._find_host()
            if host is None or not host.is_alive:
                self._end_now(_find_exit_code(host, self._choose_code()))
            return
        restore = self._open
        self._open = False
        self._mute_screen()
        # In threads of their own, so that this thread keeps listening for further signals
        for work in (lambda: os._exit(self._stay_for_run(self._choose_code(), restore)), self._free_main):
            threading.Thread(target=work, daemon=True).start()

    def _free_main(self) -> None:
        """Raise `ScreenLost` in the main thread until it leaves the screen, and so frees the interpreter."""
        main = ctypes.c_ulong(threading.main_thread().ident or 0)
        while not self._main_is_out:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(ScreenLost))
            time.sleep(0.25)

    def _choose_code(self, otherwise: int = 0) -> int:
        """Return the exit code of the signal that ends the process, or another one without a signal."""
        return _CODES.get(self.signal, otherwise)

    def _end_now(self, code: int) -> NoReturn:
        if self._open:
            self._release_shell(code, True, "")
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        # A normal exit would wait for threads, such as the one that trains
        os._exit(code)

    # ---- helpers ---------------------------------------------------------------------------------------

    def _find_host(self) -> HostedRun | None:
        return self._screen.host() if self._screen is not None else None

    def _mute_screen(self) -> None:
        if self._screen is not None:
            self._screen.mute()

    def _tell_waiter(self, **words: Any) -> None:
        if self._line is not None:
            self._line.send_words(**words)


def _find_exit_code(host: HostedRun | None, otherwise: int) -> int:
    """Return the exit code of a run that has ended."""
    return int(host.outcome.exit_code) if host is not None and host.outcome else otherwise


def _ignore_signal(_number: int, _frame: object) -> None:
    """Do nothing: the listening thread acts on the signal, which would kill a process without a handler."""
