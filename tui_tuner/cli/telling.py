"""Lines of a run, and the bell or a notice of the terminal that they are printed in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TextIO

from tui_tuner.headless import LinePrinter
from tui_tuner.notifying.terminal import TerminalNotices
from tui_tuner.runs.events import Event
from tui_tuner.runs.store import RunFolder


class TellingPrinter(LinePrinter):
    """A `LinePrinter` that rings where the config asks for it; never into a pipe or a file."""

    def __init__(self, write: Callable[[str], None], stream: TextIO, folder: RunFolder | None = None) -> None:
        super().__init__(write, folder)
        self._stream = stream
        self._notices = TerminalNotices()

    def _take(self, event: Event) -> None:
        super()._take(event)
        codes = self._notices.take(event)
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone
            if codes and self._stream.isatty():
                self._send()
                self._stream.write(codes)
                self._stream.flush()
