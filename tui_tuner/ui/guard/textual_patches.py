"""Fixes for defects in Textual's base classes, for every widget, including Textual's own; see
`patch_textual`.

- In Textual a handler that raises ends the message loop of its widget: a screen would take no more keys, and
  the app would end. Here the app is informed, and the loop continues.
- A timer with a negative interval never yields (`Timer._run` loops by `continue` without waiting), so that
  the screen freezes; a notice that expires while it is mounted has such an interval. An interval of zero is
  divided by, and a short timer whose moment passed while threads held the interpreter is never called.
"""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import Any

from textual import active_app, messages
from textual.message import Message
from textual.message_pump import MessagePump
from textual.timer import Timer

from tui_tuner.errors import TunerError

SHORTEST = 0.001  # seconds between two ticks
_LET_THROUGH = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)
_OF_THE_END = (messages.CloseMessages, messages.ExitApp)
_mended = False


class Survivor:
    """An app that continues after a fault; `fault_in` is called with each."""

    def fault_in(self, pump: MessagePump, message: Message, error: BaseException) -> None:
        """Handle an error that a message handler raised."""
        raise NotImplementedError


def patch_textual() -> None:
    """Apply both fixes, once per process."""
    global _mended
    # Applied twice, each wrapper would wrap the other and report every fault twice.
    if not _mended:
        _mended = True
        _patch_messages()
        _patch_timers()


def _patch_messages() -> None:
    dispatch = MessagePump._dispatch_message

    @wraps(dispatch)
    async def _dispatch_message(self: MessagePump, message: Message) -> None:
        try:
            await dispatch(self, message)
        except _LET_THROUGH:
            raise
        except BaseException as error:
            # BaseException, because pyo3 panics and `sys.exit` in a handler must not end the app either.
            app = active_app.get(None)
            # The messages by which an app ends must not be survived.
            if not isinstance(app, Survivor) or isinstance(message, _OF_THE_END):
                raise
            app.fault_in(self, message, error)

    MessagePump._dispatch_message = _dispatch_message  # type: ignore[method-assign]


def _patch_timers() -> None:
    make = Timer.__init__

    @wraps(make)
    def __init__(self: Timer, event_target: Any, interval: float, **more: Any) -> None:
        # Written as `not >` so that NaN is caught, too.
        if not interval > SHORTEST:
            interval = SHORTEST
        if more.get("repeat") == 0:
            # It ticks only once: if that one is late, it must not be skipped.
            more["skip"] = False
        make(self, event_target, interval, **more)

    Timer.__init__ = __init__  # type: ignore[method-assign]


class WorkStopped(TunerError):
    """A `BaseException` that was raised in a worker, as an `Exception`."""
