"""The mistakes in a YAML text, each with its line, and what can be done about them."""

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
from tui_tuner.ui.editing.check import Reading, Wrong
from tui_tuner.ui.words import block

AGAIN, RIGHT, FORM, AWAY = "again", "right", "form", "away"


class Mistakes(ModalScreen[str | None]):
    """Gives one of the words above; None keeps the text for later.

    Args:
        title: What the text is: an edit, or a file.
        opened: It is a file that was opened: there is nothing to throw away in it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer('')", _("Later")),
        Binding("e", f"answer('{AGAIN}')", _("Edit again")),
        Binding("t", f"answer('{RIGHT}')", _("Take what is right")),
        Binding("f", f"answer('{FORM}')", _("Mend in the form")),
        Binding("d", f"answer('{AWAY}')", _("Throw away")),
        Binding("pagedown", "scroll(1)", show=False),
        Binding("pageup", "scroll(-1)", show=False),
    ]
    HELP_TEXT = _("PgUp and PgDn scroll the mistakes. Esc keeps the text: ^e opens it again.")
    DEFAULT_CSS = """
    Mistakes #mistakes { height: 1fr; }
    Mistakes #mistakes Static { height: auto; }
    """

    def __init__(self, title: str, reading: Reading, opened: bool = False) -> None:
        super().__init__()
        self._title, self._reading, self._opened = title, reading, opened
        self._answers = self._offered()

    def _offered(self) -> list[tuple[str, str]]:
        found = [(AGAIN, _("e  Edit the text again"))]
        if self._reading.whole:
            found.append((FORM, _("f  Take all of it: mend it in the form, each mistake at its field")))
        if self._reading.values or not self._reading.wrong[0].line:
            words = _("t  Take what is right; what is wrong stays as it was")
            if self._opened:
                words = _("t  Take what is right; what is wrong is left at its default")
            if not self._reading.values:
                words = _("t  Take it: every setting at its default")
            found.append((RIGHT, words))
        found.append((AWAY, _("d  Leave it") if self._opened else _("d  Throw the edit away")))
        return found

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide") as box:
            box.border_title = Content(self._title)
            count = len(self._reading.wrong)
            yield Static(Content(_n("{n} mistake", "{n} mistakes", count, n=count)).stylize("bold"))
            with VerticalScroll(id="mistakes", can_focus=False):
                yield Static(self._words())
            yield OptionList(*(Option(Content(words), answer) for answer, words in self._answers))

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def _words(self) -> Content:
        parts = [_mistake(wrong) for wrong in self._reading.wrong]
        if self._reading.peer:
            peer = one_line(self._reading.peer, 40)
            told = _(
                "These look like the keys of a config for {peer}; what they are here stands beside.",
                peer=peer,
            )
            parts.insert(0, Content(told).stylize("$warning"))
        return Content("\n").join(parts)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_answer(self, answer: str) -> None:
        if not answer:
            self.dismiss(None)
        elif any(answer == offered for offered, _words in self._answers):
            self.dismiss(answer)

    def action_scroll(self, by: int) -> None:
        box = self.query_one("#mistakes", VerticalScroll)
        box.scroll_relative(y=by * max(1, box.size.height - 1), animate=False)


def _mistake(wrong: Wrong) -> Content:
    place = _("line {line}", line=wrong.line) if wrong.line else ""
    head = Content.assemble((place, "$accent"), "  ", one_line(wrong.shown, 200)) if place else None
    told = Content.assemble(("✗ ", "$error"), block(wrong.sentence))
    return Content("\n").join([head, Content.assemble("  ", told)]) if head is not None else told
