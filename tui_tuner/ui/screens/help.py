"""Help for the screen below: its help text, and every key that works there."""

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
    ("Tab", _("next part of the screen, Shift+Tab the previous one")),
    ("Esc", _("back")),
    ("^q", _("quit; asks first while a run is training")),
)


class HelpScreen(ModalScreen[None]):
    """A dialog on top of the screen that it explains."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,f1,q,enter", "dismiss", _("Close")),
    ]
    DEFAULT_CSS = """
    HelpScreen VerticalScroll { height: auto; max-height: 100%; }
    """

    def __init__(self, about: Screen[Any]) -> None:
        super().__init__()
        self._about = about

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(_("Help"))
            with VerticalScroll():
                yield Static(self._build_text())

    def _build_text(self) -> Content:
        words = getattr(self._about, "HELP_TEXT", "")
        parts: list[Content] = []
        if words:
            parts += [Content(words), Content("")]
        for title, keys in ((_("Here"), self._list_keys()), (_("Everywhere"), _EVERYWHERE)):
            if keys:
                parts.append(Content(title).stylize("bold $primary"))
                parts += [Content.assemble((f"  {key:<10}", "$accent"), text) for key, text in keys]
                parts.append(Content(""))
        return Content("\n").join(parts[:-1])

    def _list_keys(self) -> list[tuple[str, str]]:
        """Return (keys, description) of each action of the screen; keys of the same action share a line."""
        # `active_bindings` also holds those of the app and of the focused widget. The screen's own are listed
        # here; the app's stand under "Everywhere".
        own = {item.action for item in type(self._about).BINDINGS if isinstance(item, Binding)}
        # By action and description: one action can be bound twice, with labels that depend on what is offered
        # now.
        found: dict[tuple[str, str], list[str]] = {}
        for active in self._about.active_bindings.values():
            binding = active.binding
            if binding.action in own and active.enabled and binding.description:
                keys = found.setdefault((binding.action, binding.description), [])
                # A `key_display` stands for the first key of a binding; the further ones are shown by their
                # own names.
                key = self.app.get_key_display(Binding(binding.key, "", "") if keys else binding)
                if key not in keys:
                    keys.append(key)
        everywhere = {text for _key, text in _EVERYWHERE}
        return [
            ("  ".join(keys), words)
            for (_action, words), keys in found.items()
            if words.lower() not in everywhere
        ]
