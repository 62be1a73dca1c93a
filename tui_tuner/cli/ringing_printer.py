"""Prints lines of a run, with the terminal's bell or notification."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TextIO

from tui_tuner.headless import LinePrinter
from tui_tuner.notifying.terminal_notices import TerminalNotices
from tui_tuner.runs.events import Event
from tui_tuner.runs.store import RunFolder


class RingingPrinter(LinePrinter):
    """A `LinePrinter` that also rings the bell or notifies, as configured; never in a pipe or a file."""

    def __init__(self, write: Callable[[str], None], stream: TextIO, folder: RunFolder | None = None) -> None:
        super().__init__(write, folder)
        self._stream = stream
        self._notices = TerminalNotices()

    def _take_event(self, event: Event) -> None:
        super()._take_event(event)
        codes = self._notices.take_event(event)
        # The terminal may have been closed
        with contextlib.suppress(OSError, ValueError):
            if codes and self._stream.isatty():
                # Lines that are still collected go first, so that the codes do not split one
                self._write_lines()
                self._stream.write(codes)
                self._stream.flush()
