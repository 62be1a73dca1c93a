"""The terminal's driver: draws on the terminal even if stderr is redirected, and survives bad input.

Textual's own driver writes to standard error, so that `2>file` would get the screen; its writing thread dies
at the first error, and the screen then waits for it forever; an error in its reading thread ends the app; and
it leaves the screen inside the handler of SIGTSTP, which deadlocks if the signal arrives during a write.
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


class TerminalOutput:
    """The terminal as a file that never raises: once it is lost, all output is discarded."""

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
            except UnicodeError:
                # Replacing what the terminal cannot encode keeps the rest of the frame; raising would lose
                # it.
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
        # Marked as closed first: what is called here may write again and would end up here a second time.
        self._tell()


def find_terminal_stream() -> TextIO:
    """Return the stream that leads to the terminal: standard output, else standard error, else /dev/tty."""
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
    """Read keys from standard input. The app must have `terminal_lost`, `note_screen_opening`,
    `note_screen_closed`, `fault_outside` and `painted`.
    """

    def __init__(self, app: Any, **more: Any) -> None:
        super().__init__(app, **more)
        self._tuner = app
        self._file = self.output = TerminalOutput(find_terminal_stream(), app.terminal_lost)  # type: ignore[assignment]
        self._went_on = False  # the next SIGCONT ends a stop that this driver made
        # Replaces the handlers that LinuxDriver has just installed, so this must come after its constructor.
        signal.signal(signal.SIGTSTP, partial(self._between_callbacks, self._stop_process))
        signal.signal(signal.SIGCONT, partial(self._between_callbacks, self._go_on))

    def start_application_mode(self) -> None:
        self._tuner.note_screen_opening()
        self._tuner.painted.forget_lines()
        super().start_application_mode()
        # A background process then gets an I/O error instead of being stopped together with its run.
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def stop_application_mode(self) -> None:
        if self.output.closed_off:
            # Without saved attributes Textual leaves the terminal's modes alone: it is lost, or not ours.
            self.attrs_before = None
        super().stop_application_mode()

    def _between_callbacks(self, act: Callable[[], None], *_unused: Any) -> None:
        """Run `act` in the event loop, where no lock is held that leaving the screen needs.

        (The loop's `add_signal_handler` would take the wake-up descriptor from `launch.terminal.leaving`.)
        """
        self._loop.call_soon_threadsafe(act)

    def _stop_process(self) -> None:
        """Leave the screen, stop the process as SIGTSTP asks, and repaint when it is continued."""
        if self._auto_restart:
            self.suspend_application_mode()
            self._must_signal_resume = self._went_on = True
        # SIGTSTP is handled here, so the process has to stop itself; the call returns after SIGCONT.
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._auto_restart:
            self._paint_again()

    def _go_on(self) -> None:
        """Repaint after a stop from outside: another program may have written to the terminal meanwhile."""
        if self._auto_restart and not self._went_on:
            self.suspend_application_mode()
            self._paint_again()
        self._went_on = False

    def _paint_again(self) -> None:
        self.resume_application_mode()
        # Textual would only paint what has changed, but the terminal has lost everything.
        self._tuner.refresh(layout=True)

    def close(self) -> None:
        super().close()
        self._tuner.note_screen_closed()

    def keep_off(self) -> None:
        """Stop all output: the terminal belongs to another program now."""
        self.output.closed_off = True

    def _run_input_thread(self) -> None:
        # Input that always fails must not spin here forever; after the last try keys are no longer read.
        for _unused in range(_MOST_TRIES):
            try:
                self.run_input_thread()
                return
            except OSError:  # hung up, or no longer in front of it
                self._tuner.terminal_lost()
                return
            except BaseException as error:  # input that its parser does not understand
                self._tuner.fault_outside(error)
