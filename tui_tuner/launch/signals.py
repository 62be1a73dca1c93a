"""SIGTERM and SIGINT stop a run resumably; SIGHUP (terminal gone) lets it go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

from tui_tuner.runs.control import Control

_IMPATIENT = 3


def install(control: Control, on_hangup: Callable[[], None] | None = None) -> None:
    """Install handlers; main thread only. The third SIGINT or SIGTERM ends the process without saving."""
    seen = {signal.SIGINT: 0, signal.SIGTERM: 0}

    def stop(number: int, _frame: FrameType | None) -> None:
        which = signal.Signals(number)
        seen[which] += 1
        if seen[which] >= _IMPATIENT:
            signal.signal(which, signal.SIG_DFL)
            os.kill(os.getpid(), which)
        control.request("stop", reason=which.name)

    def hangup(_number: int, _frame: FrameType | None) -> None:
        if on_hangup:
            on_hangup()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, hangup)
