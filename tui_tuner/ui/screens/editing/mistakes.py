"""A dialog with the mistakes in a YAML text, each with its line, and the ways to continue."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui_tuner.locales import _, _n
from tui_tuner.text import one_line
from tui_tuner.ui.editing.text_check import CheckedText, Mistake
from tui_tuner.ui.screen_words import make_safe_block

AGAIN, RIGHT, FORM, AWAY = "again", "right", "form", "away"


class MistakesDialog(ModalScreen[str | None]):
    """Gives AGAIN, RIGHT, FORM or AWAY; None to keep the text for later.

    Args:
        title: The name of the edit or of the file.
        opened: Whether the text is a file that was opened, so that there is no edit to discard.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer('')", _("Later")),
        Binding("e", f"answer('{AGAIN}')", _("Edit again")),
        Binding("t", f"answer('{RIGHT}')", _("Take the valid values")),
        Binding("f", f"answer('{FORM}')", _("Fix in the form")),
        Binding("d", f"answer('{AWAY}')", _("Discard")),
        Binding("pagedown", "scroll(1)", show=False),
        Binding("pageup", "scroll(-1)", show=False),
    ]
    HELP_TEXT = _("PgUp and PgDn scroll the mistakes. Esc keeps the text; ^e opens it again.")
    DEFAULT_CSS = """
    MistakesDialog #mistakes { height: 1fr; }
    MistakesDialog #mistakes Static { height: auto; }
    """

    def __init__(self, title: str, reading: CheckedText, opened: bool = False) -> None:
        super().__init__()
        self._title, self._reading, self._opened = title, reading, opened
        self._answers = self._list_answers()

    def _list_answers(self) -> list[tuple[str, str]]:
        found = [(AGAIN, _("e  Edit the text again"))]
        # Of a text that is not YAML there are no fields to correct in the form.
        if self._reading.whole:
            found.append((FORM, _("f  Take everything and fix each mistake at its field in the form")))
        # A mistake without a line is about the whole text, such as an empty one, which means the defaults.
        if self._reading.values or not self._reading.wrong[0].line:
            words = _("t  Take the valid values; the others stay as they were")
            if self._opened:
                words = _("t  Take the valid values; the others stay at their defaults")
            if not self._reading.values:
                words = _("t  Take it as it is: every setting at its default")
            found.append((RIGHT, words))
        found.append((AWAY, _("d  Do not open it") if self._opened else _("d  Discard the edit")))
        return found

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = Content(self._title)
            count = len(self._reading.wrong)
            yield Static(Content(_n("{n} mistake", "{n} mistakes", count, n=count)).stylize("bold"))
            with VerticalScroll(id="mistakes", can_focus=False):
                yield Static(self._mistakes_content())
            yield OptionList(*(Option(Content(words), answer) for answer, words in self._answers))

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def _mistakes_content(self) -> Content:
        parts = [_mistake_content(wrong) for wrong in self._reading.wrong]
        if self._reading.peer:
            peer = one_line(self._reading.peer, 40)
            told = _(
                "These look like the keys of a config for {peer}; the settings that match them are listed.",
                peer=peer,
            )
            parts.insert(0, Content(told).stylize("$warning"))
        return Content("\n").join(parts)

    @on(OptionList.OptionSelected)
    def _dismiss_with_answer(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_answer(self, answer: str) -> None:
        if not answer:
            self.dismiss(None)
        # The keys exist for all answers, but not every answer is offered for this text.
        elif any(answer == offered for offered, _words in self._answers):
            self.dismiss(answer)

    def action_scroll(self, by: int) -> None:
        box = self.query_one("#mistakes", VerticalScroll)
        box.scroll_relative(y=by * max(1, box.size.height - 1), animate=False)


def _mistake_content(wrong: Mistake) -> Content:
    place = _("line {line}", line=wrong.line) if wrong.line else ""
    head = Content.assemble((place, "$accent"), "  ", one_line(wrong.shown, 200)) if place else None
    told = Content.assemble(("✗ ", "$error"), make_safe_block(wrong.sentence))
    return Content("\n").join([head, Content.assemble("  ", told)]) if head is not None else told
