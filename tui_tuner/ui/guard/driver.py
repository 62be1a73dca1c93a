"""The terminal's driver: paints on the terminal wherever standard error goes, and outlives odd input.

Textual's own writes to standard error, so that `2>file` would get the screen; its writing thread dies of the
first error, and the screen then waits for it for ever; its reading thread ends the app; and it leaves the
screen inside the handler of SIGTSTP, which waits for ever where the signal came while something was written.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO, cast

from textual.drivers.linux_driver import LinuxDriver

_MOST_TRIES = 20


class Output:
    """The terminal as a file that never raises: once it is gone, what is written is thrown away."""

    def __init__(self, file: TextIO, gone: Callable[[], None]) -> None:
        self._file = file
        self._tell = gone
        self.closed_off = False  # nothing more may be written

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not self.closed_off:
            try:
                self._file.write(text)
            except UnicodeError:  # a terminal that knows few characters
                encoding = self._file.encoding or "ascii"
                self.write(text.encode(encoding, "replace").decode(encoding))
            except (OSError, ValueError):
                self._close_off()
        return len(text)

    def flush(self) -> None:
        if not self.closed_off:
            try:
                self._file.flush()
            except (OSError, ValueError):
                self._close_off()

    def _close_off(self) -> None:
        self.closed_off = True
        self._tell()


def terminal_stream() -> TextIO:
    """The stream that leads to the terminal: standard output, else standard error, else /dev/tty."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None and os.isatty(stream.fileno()):
                return stream
        except (OSError, ValueError):
            continue
    try:
        return open("/dev/tty", "w", encoding="utf-8", errors="replace")
    except OSError:
        return cast(TextIO, sys.__stdout__)


class TunerDriver(LinuxDriver):
    """Reads keys from standard input. Its app has `terminal_lost`, `screen_opens`, `screen_closed`,
    `fault_outside` and `painted`.
    """

    def __init__(self, app: Any, **more: Any) -> None:
        super().__init__(app, **more)
        self._tuner = app
        self._file = self.output = Output(terminal_stream(), app.terminal_lost)  # type: ignore[assignment]
        self._went_on = False  # the next SIGCONT ends a stop of our own
        signal.signal(signal.SIGTSTP, partial(self._between_callbacks, self._stop_process))
        signal.signal(signal.SIGCONT, partial(self._between_callbacks, self._go_on))

    def start_application_mode(self) -> None:
        self._tuner.screen_opens()
        self._tuner.painted.forget()
        super().start_application_mode()
        # A process that is no longer in front gets an error, and is not stopped together with its run.
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def stop_application_mode(self) -> None:
        if self.output.closed_off:
            self.attrs_before = None
        super().stop_application_mode()

    def _between_callbacks(self, act: Callable[[], None], *_unused: Any) -> None:
        """Have the loop do it, when nobody holds a lock that leaving the screen needs.

        (Its own signal handlers would take the wake-up descriptor away from `launch.terminal.leaving`.)
        """
        self._loop.call_soon_threadsafe(act)

    def _stop_process(self) -> None:
        """Leave the screen, stop the process as SIGTSTP asks for, and paint again once it goes on."""
        if self._auto_restart:
            self.suspend_application_mode()
            self._must_signal_resume = self._went_on = True
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._auto_restart:
            self._paint_again()

    def _go_on(self) -> None:
        """Paint again after a stop from outside, for the terminal may have been somebody else's meanwhile."""
        if self._auto_restart and not self._went_on:
            self.suspend_application_mode()
            self._paint_again()
        self._went_on = False

    def _paint_again(self) -> None:
        self.resume_application_mode()
        self._tuner.refresh(layout=True)  # Textual paints what has changed; the terminal has lost all of it

    def close(self) -> None:
        super().close()
        self._tuner.screen_closed()

    def keep_off(self) -> None:
        """The terminal is somebody else's now."""
        self.output.closed_off = True

    def _run_input_thread(self) -> None:
        for _unused in range(_MOST_TRIES):
            try:
                self.run_input_thread()
                return
            except OSError:  # hung up, or no longer in front of it
                self._tuner.terminal_lost()
                return
            except BaseException as error:  # input that its parser does not understand
                self._tuner.fault_outside(error)
