"""Where one types what is said: Enter sends it, Alt+Enter or ^j begins a new line, Up brings older ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from tui_tuner.locales import _
from tui_tuner.text import sanitize


class PromptInput(TextArea):
    """Grows to six lines."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # before the keys of a text area, for which Enter is a new line
        Binding("enter", "send", _("Send"), priority=True),
        Binding("alt+enter,ctrl+j,shift+enter", "new_line", _("New line"), show=False, priority=True),
        Binding("pageup", "turn_page(-1)", _("Read further up"), show=False),
        Binding("pagedown", "turn_page(1)", _("Read further down"), show=False),
    ]
    DEFAULT_CSS = """
    PromptInput { height: auto; min-height: 1; max-height: 6; border: none; padding: 0 1; background: $panel;
                  scrollbar-size-vertical: 1; }
    PromptInput:focus { border: none; background: $cursor-back; }
    """

    class Sent(Message):
        """Enter was pressed, and the field is empty now."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Refused(Message):
        """Enter was pressed where nothing may be sent: the text stays."""

    class Paged(Message):
        """A page up or down was asked for."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self) -> None:
        super().__init__(placeholder=_("Type a message; Enter sends it"), soft_wrap=True, id="prompt")
        self.highlight_cursor_line = False
        self.may_send: Callable[[], bool] = lambda: True
        self.before: list[str] = []  # what Up brings, the last one first
        self._at = -1
        self._typed = ""

    def action_send(self) -> None:
        self.call_later(self._send)  # such a key overtakes letters that were typed before it

    def _send(self) -> None:
        text = self.text.strip()
        if not text:
            return
        if not self.may_send():
            self.post_message(PromptInput.Refused())
            return
        if not self.before or self.before[0] != text:
            self.before.insert(0, text)
        self._at = -1
        self.put("")
        self.post_message(PromptInput.Sent(text))

    def put(self, text: str) -> None:
        """Have this text, the cursor at its end."""
        self.text = text
        self.move_cursor(self.document.end)

    def action_new_line(self) -> None:
        self.call_later(self.insert, "\n")

    def action_turn_page(self, by: int) -> None:
        self.post_message(PromptInput.Paged(by))

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.cursor_at_first_line and self._at + 1 < len(self.before):
            self._turn(1)
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self.cursor_at_last_line and self._at >= 0:
            self._turn(-1)
        else:
            super().action_cursor_down(select)

    def _turn(self, by: int) -> None:
        if self._at < 0:
            self._typed = self.text
        self._at += by
        self.put(self._typed if self._at < 0 else self.before[self._at])

    @on(TextArea.Changed)
    def _clean(self) -> None:
        """Characters that steer a terminal, or that nobody sees, may have been pasted: they are left out."""
        text = self.text
        if sanitize(text) != text:
            self.put("".join(character for character in text if sanitize(character) == character))
