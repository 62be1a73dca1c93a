"""What is mended in Textual at its base, for every widget, its own ones included; see `mend`.

- A message whose handler raises ends the message loop of its widget there: a screen would take no key any
  more, and the app would end. Here the app is told, and the loop goes on.
- A timer with a negative delay never gives up its turn (`Timer._run` leaves its `continue` for nothing), so
  that the screen stands still for ever; a notice whose time is over while it is made has such a delay. One of
  zero divides by it, and a short one whose moment has passed while threads held the interpreter never comes.
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
    """An app that goes on after a fault; `fault_in` is told of each."""

    def fault_in(self, pump: MessagePump, message: Message, error: BaseException) -> None:
        """What a handler of a message has raised."""
        raise NotImplementedError


def mend() -> None:
    """Mend both, once in a process."""
    global _mended
    if not _mended:
        _mended = True
        _mend_messages()
        _mend_timers()


def _mend_messages() -> None:
    dispatch = MessagePump._dispatch_message

    @wraps(dispatch)
    async def _dispatch_message(self: MessagePump, message: Message) -> None:
        try:
            await dispatch(self, message)
        except _LET_THROUGH:
            raise
        except BaseException as error:  # also what C libraries and `sys.exit` raise
            app = active_app.get(None)
            if not isinstance(app, Survivor) or isinstance(message, _OF_THE_END):
                raise
            app.fault_in(self, message, error)

    MessagePump._dispatch_message = _dispatch_message  # type: ignore[method-assign]


def _mend_timers() -> None:
    make = Timer.__init__

    @wraps(make)
    def __init__(self: Timer, event_target: Any, interval: float, **more: Any) -> None:
        if not interval > SHORTEST:  # NaN too
            interval = SHORTEST
        if more.get("repeat") == 0:
            more["skip"] = False  # it ticks once: that time must not be skipped
        make(self, event_target, interval, **more)

    Timer.__init__ = __init__  # type: ignore[method-assign]


class WorkStopped(TunerError):
    """Stands for what is no `Exception` and was raised by work in a worker."""
