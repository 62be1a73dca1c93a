"""The built-in YAML editor, for use if no other editor is set or if it cannot run."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from tui_tuner.locales import _
from tui_tuner.ui.screens.dialogs import ChoiceDialog
from tui_tuner.ui.widgets.keys_below import KeysBelow


class YamlEditor(ModalScreen[str | None]):
    """Gives the edited text; None if it is to be discarded.

    Args:
        text: The text to edit.
        line: The line to put the cursor on, from 1; 0 for the start.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        # Priority: the text area would take ^e for the end of the line, and Escape for leaving it.
        Binding("ctrl+e", "done", _("Apply"), key_display="^e", priority=True),
        Binding("escape", "leave", _("Back"), priority=True),
        Binding("ctrl+z", "text('undo')", _("Undo"), key_display="^z"),
        Binding("ctrl+y", "text('redo')", _("Redo"), key_display="^y"),
    ]
    HELP_TEXT = _(
        "Remove the # from a line to set its value. ^e applies the text to the form, which checks it.\n"
        "Set $VISUAL or $EDITOR to use your own editor here."
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
        # Highlighting needs tree-sitter, an extra of Textual's. A language may be listed although its parser
        # is missing.
        if "yaml" in area.available_languages:
            try:
                area.language = "yaml"
            except Exception:
                area.language = None
        yield area
        yield KeysBelow()

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.focus()
        if self._line:
            area.move_cursor((self._line - 1, 0), center=True)

    @property
    def _current_text(self) -> str:
        return self.query_one(TextArea).text

    def action_done(self) -> None:
        """Close the editor and apply the text to the form."""
        self.dismiss(self._current_text)

    def action_text(self, what: str) -> None:
        area = self.query_one(TextArea)
        area.undo() if what == "undo" else area.redo()

    def action_leave(self) -> None:
        """Close the editor; ask first if the text was changed."""
        if self._current_text == self._text:
            self.dismiss(None)
            return
        answers = [
            ("take", _("Apply the changes"), _("They are checked first, and can be undone in the form.")),
            ("away", _("Discard the changes"), ""),
            ("stay", _("Keep editing"), ""),
        ]

        def finish_editing(answer: str | None) -> None:
            if answer == "take":
                self.dismiss(self._current_text)
            elif answer == "away":
                self.dismiss(None)

        self.app.push_screen(
            ChoiceDialog(_("Settings as YAML"), Content(_("The text was changed.")), answers), finish_editing
        )
