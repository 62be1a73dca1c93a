"""What every screen of the workbench shares: the top line, the footer, and its size classes."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen, Screen

from tui_tuner.locales import _
from tui_tuner.ui.guard.sturdy import Works
from tui_tuner.ui.hosting import Tuner, tuner_of
from tui_tuner.ui.widgets.keys_below import KeysBelow
from tui_tuner.ui.widgets.topbar import TopBar


class TunerScreen(Screen[Any], Works):
    """A full screen. Subclasses give `crumb()` (where we are), `body()` (the widgets) and `HELP_TEXT`."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    HELP_TEXT: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", _("Back"), show=False)]

    @property
    def tuner(self) -> Tuner:
        return tuner_of(self.app)

    def compose(self) -> ComposeResult:
        yield TopBar(self.crumb())
        yield from self.body()
        yield KeysBelow()

    @property
    def on_view(self) -> bool:
        """True while one sees this screen: it is on top, or only a dialog is above it.

        Whatever a covered screen redraws goes to the terminal as well, so a covered one draws nothing.
        """
        return self.is_active or (isinstance(self.app.screen, ModalScreen) and self.is_current)

    def crumb(self) -> Content:
        return Content("")

    def body(self) -> ComposeResult:
        yield from ()

    def action_back(self) -> None:
        """To the screen below; from the lowest one, nothing."""
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()
