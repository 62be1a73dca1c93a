"""The base class of all screens: the top line, the footer, and the size classes."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen, Screen

from tui_tuner.locales import _
from tui_tuner.ui.guard.sturdy import WorkerOwner
from tui_tuner.ui.hosting import Tuner, get_tuner_app
from tui_tuner.ui.widgets.keys_below import KeysBelow
from tui_tuner.ui.widgets.topbar import TopBar


class TunerScreen(Screen[Any], WorkerOwner):
    """A full screen.

    Subclasses implement `build_crumb()` (the path in the top line) and `compose_body()` (the widgets), and
    set `HELP_TEXT`.
    """

    # The style sheets lay screens out by these classes: 80 x 24 is narrow and short.
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    HELP_TEXT: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", _("Back"), show=False)]

    @property
    def tuner_app(self) -> Tuner:
        return get_tuner_app(self.app)

    def compose(self) -> ComposeResult:
        yield TopBar(self.build_crumb())
        yield from self.compose_body()
        yield KeysBelow()

    @property
    def is_on_view(self) -> bool:
        """Return whether this screen is visible: it is on top, or only a dialog covers it."""
        # Textual sends what a covered screen redraws to the terminal as well, so screens ask this before they
        # draw on a timer.
        return self.is_active or (isinstance(self.app.screen, ModalScreen) and self.is_current)

    def build_crumb(self) -> Content:
        return Content("")

    def compose_body(self) -> ComposeResult:
        yield from ()

    def action_back(self) -> None:
        """To the screen below; from the lowest one, nothing."""
        if len(self.app.screen_stack) > 1:
            self.app.pop_screen()
