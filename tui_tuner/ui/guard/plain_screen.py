"""The replacement for a lowest screen that cannot be shown; nothing in it can fail."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.text import one_line


class PlainScreen(Screen[Any]):
    """Report that a screen cannot be shown; Enter tries it again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,r", "again", _("Try again")),
        Binding("q", "app.quit", _("Quit")),
    ]

    def __init__(self, log: str) -> None:
        super().__init__()
        self._log = log

    def compose(self) -> ComposeResult:
        words = _("This screen cannot be shown. A run in this process continues.")
        what = _("The reason is in {path}.", path=one_line(self._log))
        yield Static(Content(f"{words}\n{what}\n\n{_('Press Enter to try again, q to quit.')}"))

    def action_again(self) -> None:
        # There is no screen below this one, so it is replaced and not popped.
        self.app.switch_screen(self.app.get_default_screen())
