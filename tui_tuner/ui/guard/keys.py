"""Keys reach the screen one after the other, each once everything that the one before it began is done.

Textual hands a key to whatever has the focus when it arrives. On a slow line several arrive together: what
the first one opens, or moves the focus to, is not there yet when the second is handed out, which then goes to
the wrong place. Here a key waits until the messages of the one before have gone through: from the widget in
focus up to the app, more than once, for a handler may post messages of its own; and until a screen that was
opened is made.
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
_ROUNDS_OF_SCREEN = 2  # of one that was opened: it is made, and then it answers
_LOOK = 0.25  # seconds after which it is seen whether who is waited for lives
_LONGEST = 20.0  # seconds that a key waits: a handler may never end
_AT_ONCE = frozenset(("ctrl+q", "ctrl+c"))  # the way out waits for nothing


class OrderlyApp(App[R]):
    """See the module's text."""

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
        """Whether what the last key began is not done yet."""
        return self._settling

    async def _hand_out(self, event: events.Event) -> None:
        into_text = _writes(event) and _is_text(self.focused)
        await super().on_event(event)
        if into_text:
            return  # letters of one text need not wait for each other
        self._settling, self._since = True, time.monotonic()
        self._begin_round(_ROUNDS)

    def _begin_round(self, rounds: int) -> None:
        self._rounds, self._round_began_on = rounds, self._top()
        focused = self.focused
        self._way = deque(self._line_of(focused) if focused is not None else self._screens())
        self._go_on(self._step)

    def _top(self) -> Screen[Any] | None:
        return self.screen_stack[-1] if self.screen_stack else None

    def _screens(self) -> list[MessagePump]:
        top = self._top()
        return [top] if top is not None else []

    def _line_of(self, pump: MessagePump) -> list[MessagePump]:
        """A widget and all above it, up to its screen."""
        found: list[MessagePump] = []
        while pump is not None and pump is not self:
            found.append(pump)
            pump = pump._parent  # type: ignore[assignment]
        return found

    def _go_on(self, step: int) -> None:
        """What was waited for has come: wait for the next one that the messages go through."""
        if step != self._step or not self._settling:
            return  # it was given up before
        self._step += 1
        while self._way:
            self._waits_at = self._way.popleft()
            if self._waits_at.call_later(self._go_on, self._step):
                break
        else:
            self._waits_at = None
            self.call_later(self._end_round, self._step)
        self._look_again()

    async def _end_round(self, step: int) -> None:
        if step != self._step:
            return
        rounds = self._rounds - 1
        if self._top() is not self._round_began_on:
            rounds = max(rounds, _ROUNDS_OF_SCREEN)
        if rounds > 0 and time.monotonic() - self._since < _LONGEST:
            self._begin_round(rounds)
            return
        self._settling = False
        if self._looking is not None:
            self._looking.cancel()
        while self._typed and not self._settling:
            await self._hand_out(self._typed.popleft())

    # Who is waited for may be gone by now, with what stood in its queue

    def _look_again(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._looking = asyncio.get_running_loop().call_later(_LOOK, self._look)

    def _look(self) -> None:
        pump = self._waits_at
        late = time.monotonic() - self._since > _LONGEST
        if late:
            self._way.clear()
        if pump is not None and (late or not pump.is_running or pump._closing or pump._closed):
            self._go_on(self._step)
        elif self._settling:
            self._look_again()


def _is_typed(event: events.Event) -> bool:
    """Whether it comes from the keyboard, and is to wait for its turn."""
    if event.is_forwarded:
        return False
    return isinstance(event, events.Paste) or (isinstance(event, events.Key) and event.key not in _AT_ONCE)


def _is_text(widget: Widget | None) -> bool:
    """Whether one types text into it. By name: neither is imported before it is shown."""
    return any(kind.__name__ in ("Input", "TextArea") for kind in type(widget).__mro__)


def _writes(event: events.Event) -> bool:
    return isinstance(event, events.Paste) or (isinstance(event, events.Key) and event.is_printable)
