"""Small dialogs: choose from a list, confirm, quit, type a path."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui_tuner.locales import _
from tui_tuner.ui.screen_words import make_safe_line, mark_placeholder_value, render_marked_sentence


class ChoiceDialog(ModalScreen[str | None]):
    """A question with a list of answers. Gives the id of the chosen one, or None after Escape.

    Args:
        answers: (id, label, explanation) of each; the explanation may be empty.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss_none", _("Cancel"))]

    def __init__(self, title: str, question: Content, answers: list[tuple[str, str, str]]) -> None:
        super().__init__()
        self._title, self._question, self._answers = title, question, answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)
            yield Static(self._question)
            # Labels are `Content`, never strings: Textual would read brackets in a plain string as markup.
            options = [
                Option(
                    Content.assemble((f"{label}\n", "bold"), (meaning, "$dim"))
                    if meaning
                    else Content(label),
                    id,
                )
                for id, label, meaning in self._answers
            ]
            yield OptionList(*options)

    def highlight_answer(self, answer: str) -> None:
        """Move the cursor to an answer; ignore one that is not in the list."""
        box = self.query_one(OptionList)
        if any(id == answer for id, _label, _meaning in self._answers):
            # `get_option_index` raises for an id that is not in the list.
            box.highlighted = box.get_option_index(answer)

    @on(OptionList.OptionSelected)
    def _dismiss_with_choice(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_dismiss_none(self) -> None:
        self.dismiss(None)


class QuitDialog(ChoiceDialog):
    """Ask what happens to the run of this process when the workbench closes."""

    def __init__(self, name: str) -> None:
        run = mark_placeholder_value(make_safe_line(name, 60).plain, "bold")
        question = render_marked_sentence(
            _("This process is training {run}. What should happen to it?", run=run)
        )
        super().__init__(
            _("Quit"),
            question,
            [
                (
                    "background",
                    _("Keep it running in the background"),
                    _("The screen closes and the run continues to its end. Attach from any terminal."),
                ),
                ("stop", _("Stop and save"), _("Saves a checkpoint, then closes. The run can be resumed.")),
                ("stay", _("Stay here"), ""),
            ],
        )


class ConfirmDialog(ModalScreen[bool]):
    """Ask for yes or no, with labels that say what each does.

    Args:
        code: A command to show below the question, for copying.
        careful: Put the cursor on "no" first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "answer(False)", _("No")),
        Binding("y", "answer(True)", _("Yes")),
    ]

    def __init__(
        self, title: str, question: str, yes: str, no: str, code: str = "", careful: bool = False
    ) -> None:
        super().__init__()
        self._careful = careful
        self._title, self._question, self._yes, self._no, self._code = title, question, yes, no, code

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)
            yield Static(Content(self._question))
            if self._code:
                yield Static(Content.assemble("  ", (make_safe_line(self._code).plain, "$accent")))
            yield OptionList(Option(Content(self._yes), "yes"), Option(Content(self._no), "no"))

    def on_mount(self) -> None:
        self.query_one(OptionList).highlighted = 1 if self._careful else 0

    @on(OptionList.OptionSelected)
    def _dismiss_with_yes(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id == "yes")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class PathDialog(ModalScreen[str | None]):
    """Ask for one line of text. Gives it without spaces around it, or None if nothing was typed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss_none", _("Cancel"))]

    def __init__(self, title: str, question: str, value: str) -> None:
        super().__init__()
        self._title, self._question, self._value = title, question, value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self._title)
            yield Static(Content(self._question))
            yield Input(self._value)

    @on(Input.Submitted)
    def _dismiss_with_path(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)

    def action_dismiss_none(self) -> None:
        self.dismiss(None)
