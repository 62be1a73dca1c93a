"""Signal handlers: SIGTERM and SIGINT stop a run resumably; at SIGHUP (terminal closed) it continues."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

from tui_tuner.runs.control import CommandReceiver

_IMPATIENT = 3


def install_signal_handlers(control: CommandReceiver, on_hangup: Callable[[], None] | None = None) -> None:
    """Install the handlers (main thread only). The third SIGINT or SIGTERM ends the process unsaved."""
    seen = {signal.SIGINT: 0, signal.SIGTERM: 0}

    def request_stop(number: int, _frame: FrameType | None) -> None:
        which = signal.Signals(number)
        seen[which] += 1
        if seen[which] >= _IMPATIENT:
            signal.signal(which, signal.SIG_DFL)
            # With the default action, so that the parent sees which signal ended the process
            os.kill(os.getpid(), which)
        control.request_command("stop", reason=which.name)

    def handle_hangup(_number: int, _frame: FrameType | None) -> None:
        if on_hangup:
            on_hangup()

    signal.signal(signal.SIGINT, request_stop)
    signal.signal(signal.SIGTERM, request_stop)
    # The default action would end the run when its terminal is closed
    signal.signal(signal.SIGHUP, handle_hangup)
