"""Help for the screen below: its words, and every key that works there."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui_tuner.locales import _

_EVERYWHERE = (
    ("?  F1", _("this help")),
    ("^p", _("command palette: everything by name")),
    ("^t", _("light or dark")),
    ("Tab", _("next part of the screen, Shift+Tab the one before")),
    ("Esc", _("back")),
    ("^q", _("quit; a run that is on is asked about")),
)


class HelpScreen(ModalScreen[None]):
    """A sheet above the screen it explains."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q,enter", "dismiss", _("Close")),
    ]
    DEFAULT_CSS = """
    HelpScreen .dialog { width: 76; height: auto; }
    HelpScreen VerticalScroll { height: auto; max-height: 90%; }
    """

    def __init__(self, about: Screen[Any]) -> None:
        super().__init__()
        self._about = about

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(_("Help"))
            with VerticalScroll():
                yield Static(self._text())

    def _text(self) -> Content:
        words = getattr(self._about, "HELP_TEXT", "")
        own = {item.action for item in type(self._about).BINDINGS if isinstance(item, Binding)}
        here = [
            (self.app.get_key_display(binding.binding), binding.binding.description)
            for binding in self._about.active_bindings.values()
            if binding.binding.action in own and binding.enabled and binding.binding.description
        ]
        parts: list[Content] = []
        if words:
            parts += [Content(words), Content("")]
        for title, keys in ((_("Here"), here), (_("Everywhere"), _EVERYWHERE)):
            if keys:
                parts.append(Content(title).stylize("bold $primary"))
                parts += [Content.assemble((f"  {key:<10}", "$accent"), text) for key, text in keys]
                parts.append(Content(""))
        return Content("\n").join(parts[:-1])
