"""A plain editor of our own for a draft as YAML: where no other is set, or where it cannot run."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from tui_tuner.locales import _
from tui_tuner.ui.screens.dialogs import Choose
from tui_tuner.ui.widgets.keys_below import KeysBelow


class YamlEditor(ModalScreen[str | None]):
    """Gives the text once it is done with; None where nothing is to be taken.

    Args:
        text: What is edited.
        line: Where to begin, from 1; 0 for nowhere.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+e", "done", _("Take over"), key_display="^e", priority=True),
        Binding("escape", "leave", _("Back"), priority=True),
        Binding("ctrl+z", "text('undo')", _("Undo"), key_display="^z"),
        Binding("ctrl+y", "text('redo')", _("Redo"), key_display="^y"),
    ]
    HELP_TEXT = _(
        "Take the # away from a line to set it. ^e takes the text into the form, which checks it.\n"
        "Set $VISUAL or $EDITOR to have an editor of your own here."
    )
    DEFAULT_CSS = """
    YamlEditor { background: $background; }
    YamlEditor #title { height: 1; background: $panel; padding: 0 1; }
    YamlEditor TextArea { height: 1fr; border: none; padding: 0; background: $background; }
    """

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__()
        self._text, self._line = text, line

    def compose(self) -> ComposeResult:
        yield Static(
            Content.assemble(("tui-tuner", "bold $primary"), ("  ›  ", "$dim"), _("Settings as YAML")),
            id="title",
        )
        area = TextArea(
            self._text, soft_wrap=False, tab_behavior="indent", show_line_numbers=True, theme="css"
        )
        area.indent_width = 2
        if "yaml" in area.available_languages:
            try:
                area.language = "yaml"
            except Exception:  # its parser is an extra of Textual's
                area.language = None
        yield area
        yield KeysBelow()

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.focus()
        if self._line:
            area.move_cursor((self._line - 1, 0), center=True)

    @property
    def _now(self) -> str:
        return self.query_one(TextArea).text

    def action_done(self) -> None:
        """Take the text over."""
        self.dismiss(self._now)

    def action_text(self, what: str) -> None:
        area = self.query_one(TextArea)
        area.undo() if what == "undo" else area.redo()

    def action_leave(self) -> None:
        """Back; what was changed is asked about."""
        if self._now == self._text:
            self.dismiss(None)
            return
        answers = [
            ("take", _("Take it over"), _("It is checked first, and can be undone in the form.")),
            ("away", _("Throw the changes away"), ""),
            ("stay", _("Keep editing"), ""),
        ]

        def answered(answer: str | None) -> None:
            if answer == "take":
                self.dismiss(self._now)
            elif answer == "away":
                self.dismiss(None)

        self.app.push_screen(
            Choose(_("Settings as YAML"), Content(_("The text was changed.")), answers), answered
        )
