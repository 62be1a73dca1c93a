"""A dialog for the system prompt of a chat."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from tui_tuner.locales import _
from tui_tuner.text import sanitize
from tui_tuner.ui.screen_words import mark_placeholder_value, render_marked_sentence


class SystemDialog(ModalScreen[str | None]):
    """Gives the text, which may be empty; None if it stays as it is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_none", _("Cancel"), priority=True),
        Binding("f6", "take", _("Apply"), priority=True),
    ]
    DEFAULT_CSS = """
    SystemDialog TextArea { height: 8; border: none; padding: 0 1; background: $background; margin: 1 0; }
    SystemDialog TextArea:focus { border: none; }
    """

    def __init__(self, now: str) -> None:
        super().__init__()
        self._now = now

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(_("System prompt"))
            yield Static(
                Content(
                    _("Every model gets this text before the chat. It applies from the next answer on.")
                ).stylize("$dim")
            )
            yield TextArea(self._now, soft_wrap=True)
            words = _(
                "{f6} apply  {esc} cancel", f6=mark_placeholder_value("F6"), esc=mark_placeholder_value("Esc")
            )
            yield Static(render_marked_sentence(words, "$dim"))

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.highlight_cursor_line = False
        area.move_cursor(area.document.end)

    def action_take(self) -> None:
        text = self.query_one(TextArea).text
        # Pasted control characters would steer the terminal wherever the prompt is shown.
        if sanitize(text) != text:
            text = "".join(character for character in text if sanitize(character) == character)
        self.dismiss(text.strip())

    def action_dismiss_none(self) -> None:
        self.dismiss(None)
