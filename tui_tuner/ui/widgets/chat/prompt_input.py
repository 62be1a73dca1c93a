"""The chat's input: Enter sends, Alt+Enter or ^j starts a new line, Up recalls older messages."""

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
    """A text area for messages that grows up to six lines."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # priority, because Enter is a new line in a text area
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
        """Enter was pressed; the field is now empty."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Refused(Message):
        """Enter was pressed while nothing may be sent; the text stays."""

    class Paged(Message):
        """The user wants to scroll a page up or down."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self) -> None:
        super().__init__(placeholder=_("Type a message; Enter sends it"), soft_wrap=True, id="prompt")
        self.highlight_cursor_line = False
        self.may_send: Callable[[], bool] = lambda: True
        self.before: list[str] = []  # messages that Up recalls, newest first
        self._at = -1
        self._typed = ""

    def action_send(self) -> None:
        # A priority binding overtakes letters that were typed before it and are still queued.
        self.call_later(self._send_text)

    def _send_text(self) -> None:
        text = self.text.strip()
        if not text:
            return
        if not self.may_send():
            self.post_message(PromptInput.Refused())
            return
        if not self.before or self.before[0] != text:
            self.before.insert(0, text)
        self._at = -1
        self.put_text("")
        self.post_message(PromptInput.Sent(text))

    def put_text(self, text: str) -> None:
        """Set the text, with the cursor at its end."""
        self.text = text
        self.move_cursor(self.document.end)

    def action_new_line(self) -> None:
        self.call_later(self.insert, "\n")

    def action_turn_page(self, by: int) -> None:
        self.post_message(PromptInput.Paged(by))

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.cursor_at_first_line and self._at + 1 < len(self.before):
            self._turn_history(1)
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self.cursor_at_last_line and self._at >= 0:
            self._turn_history(-1)
        else:
            super().action_cursor_down(select)

    def _turn_history(self, by: int) -> None:
        if self._at < 0:
            # Down brings the unsent text back.
            self._typed = self.text
        self._at += by
        self.put_text(self._typed if self._at < 0 else self.before[self._at])

    @on(TextArea.Changed)
    def _remove_unprintable(self) -> None:
        """Remove pasted characters that are invisible or control the terminal."""
        text = self.text
        if sanitize(text) != text:
            self.put_text("".join(character for character in text if sanitize(character) == character))
