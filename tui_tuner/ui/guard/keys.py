"""Keys reach the screen one at a time, each after everything that the previous key started is done.

Textual hands a key to whatever has the focus when it arrives. On a slow line several arrive together: what
the first one opens or focuses does not exist yet when the second is handed out, which then goes to the wrong
widget. Here a key waits until the messages of the previous one have been handled, from the focused widget up
to the app (several times, as handlers post further messages), and until a screen that it opened is mounted.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, TypeVar

from textual import events
from textual.app import App
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widget import Widget

R = TypeVar("R")
_ROUNDS = 3  # a key that is bound runs at the app; it posts; and what receives that posts again
_ROUNDS_OF_SCREEN = 2  # after a screen opened: one to mount it, one to let it respond
_LOOK = 0.25  # seconds between checks that the widget waited for still exists
_LONGEST = 20.0  # seconds that a key waits at most, as a handler may never return
_AT_ONCE = frozenset(("ctrl+q", "ctrl+c"))  # leaving must always work


class OrderlyApp(App[R]):
    """Queue keys until the previous one is fully handled; the module's docstring explains why."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._typed: deque[events.Event] = deque()
        self._settling = False
        self._rounds = 0
        self._round_began_on: Screen[Any] | None = None
        self._way: deque[MessagePump] = deque()
        self._waits_at: MessagePump | None = None
        self._step = 0
        self._since = 0.0
        self._looking: asyncio.TimerHandle | None = None

    async def on_event(self, event: events.Event) -> None:
        if not _is_typed(event):
            await super().on_event(event)
        elif self._settling:
            self._typed.append(event)
        else:
            await self._hand_out(event)

    @property
    def keys_wait(self) -> bool:
        """True while work that the last key started is not finished."""
        return self._settling

    async def _hand_out(self, event: events.Event) -> None:
        # Asked before the key is handed out: handling it may move the focus.
        into_text = _types_text(event) and _is_text(self.focused)
        await super().on_event(event)
        # Letters typed into one field need not wait for each other, and fast typing must not lag.
        if into_text:
            return
        self._settling, self._since = True, time.monotonic()
        self._begin_round(_ROUNDS)

    def _begin_round(self, rounds: int) -> None:
        self._rounds, self._round_began_on = rounds, self._find_top_screen()
        focused = self.focused
        self._way = deque(self._line_of(focused) if focused is not None else self._list_top_screen())
        self._wait_for_next_pump(self._step)

    def _find_top_screen(self) -> Screen[Any] | None:
        return self.screen_stack[-1] if self.screen_stack else None

    def _list_top_screen(self) -> list[MessagePump]:
        top = self._find_top_screen()
        return [top] if top is not None else []

    def _line_of(self, pump: MessagePump) -> list[MessagePump]:
        """Return a widget and its ancestors, up to its screen."""
        found: list[MessagePump] = []
        while pump is not None and pump is not self:
            found.append(pump)
            pump = pump._parent  # type: ignore[assignment]
        return found

    def _wait_for_next_pump(self, step: int) -> None:
        """Wait for the next message pump on the way up; the previous one has handled its messages."""
        # A late callback of a wait that was given up must not advance the current one.
        if step != self._step or not self._settling:
            return
        self._step += 1
        while self._way:
            self._waits_at = self._way.popleft()
            # `call_later` returns False for a pump that is closing; then the next one up is asked.
            if self._waits_at.call_later(self._wait_for_next_pump, self._step):
                break
        else:
            self._waits_at = None
            self.call_later(self._end_round, self._step)
        self._look_again()

    async def _end_round(self, step: int) -> None:
        if step != self._step:
            return
        rounds = self._rounds - 1
        if self._find_top_screen() is not self._round_began_on:
            # The key opened or closed a screen, whose own first messages are not handled yet.
            rounds = max(rounds, _ROUNDS_OF_SCREEN)
        if rounds > 0 and time.monotonic() - self._since < _LONGEST:
            self._begin_round(rounds)
            return
        self._settling = False
        if self._looking is not None:
            self._looking.cancel()
        while self._typed and not self._settling:
            await self._hand_out(self._typed.popleft())

    # The widget waited for may have been removed by now, together with its queue

    def _look_again(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._looking = asyncio.get_running_loop().call_later(_LOOK, self._check_waiting)

    def _check_waiting(self) -> None:
        pump = self._waits_at
        late = time.monotonic() - self._since > _LONGEST
        if late:
            # Out of patience: the pumps that are left are not asked any more.
            self._way.clear()
        if pump is not None and (late or not pump.is_running or pump._closing or pump._closed):
            self._wait_for_next_pump(self._step)
        elif self._settling:
            self._look_again()


def _is_typed(event: events.Event) -> bool:
    """Return whether an event comes from the keyboard and must wait for its turn."""
    # A forwarded event is already on its way from the app to a widget.
    if event.is_forwarded:
        return False
    return isinstance(event, events.Paste) or (isinstance(event, events.Key) and event.key not in _AT_ONCE)


def _is_text(widget: Widget | None) -> bool:
    """Return whether a widget takes typed text; compared by class name, to import neither class."""
    return any(kind.__name__ in ("Input", "TextArea") for kind in type(widget).__mro__)


def _types_text(event: events.Event) -> bool:
    return isinstance(event, events.Paste) or (isinstance(event, events.Key) and event.is_printable)
