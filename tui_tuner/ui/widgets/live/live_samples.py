"""Answers that were generated during a run, with the keys to browse them."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from tui_tuner.locales import _
from tui_tuner.runs.view import RunView
from tui_tuner.ui.widgets.judged.held_out_answers import Answers


class AnswerKeys(VerticalScroll):
    """A container of answers that passes their keys to them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "turn(1)", _("Next prompt"), show=False),
        Binding("left", "turn(-1)", _("Previous prompt"), show=False),
        Binding("shift+right", "turn(10)", _("Ten prompts forward"), show=False),
        Binding("shift+left", "turn(-10)", _("Ten prompts back"), show=False),
        Binding("comma", "turn_side('left')", _("Another stage on the left"), show=False),
        Binding("full_stop", "turn_side('right')", _("Another stage on the right"), show=False),
        Binding("f", "reference", _("Compare with the reference"), show=False),
        Binding("w", "whole", _("Whole answers"), show=False),
    ]

    @property
    def answers(self) -> Answers:
        return self.query_one(Answers)

    def action_turn(self, by: int) -> None:
        """Go to another prompt and scroll to its start."""
        self.answers.turn_prompt(by)
        self.scroll_to_start()

    def scroll_to_start(self) -> None:
        """Scroll to the start after another prompt is shown."""
        self.scroll_home(animate=False)

    def action_turn_side(self, side: str) -> None:
        self.answers.turn_side(side)

    def action_reference(self) -> None:
        self.answers.show_reference()

    def action_whole(self) -> None:
        self.answers.open_whole()


class Samples(AnswerKeys):
    """The answers of a run, in the lower part of the live pane."""

    DEFAULT_CSS = "Samples { height: 1fr; padding: 0 1; }"

    def compose(self) -> ComposeResult:
        yield Answers()

    def show_samples(self, view: RunView) -> None:
        """Show the answers of a run, if they have changed."""
        self.answers.show_answers(view.samples, view.has_ended)
