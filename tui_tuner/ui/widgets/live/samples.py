"""Answers that were generated during a run, with the keys that go through them."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from tui_tuner.locales import _
from tui_tuner.runs.view import RunView
from tui_tuner.ui.widgets.judged.answers import Answers


class AnswerKeys(VerticalScroll):
    """What scrolls around answers, or holds them beside other things, and passes them their keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "turn(1)", _("Next prompt"), show=False),
        Binding("left", "turn(-1)", _("Prompt before"), show=False),
        Binding("shift+right", "turn(10)", _("Ten prompts on"), show=False),
        Binding("shift+left", "turn(-10)", _("Ten prompts back"), show=False),
        Binding("comma", "turn_side('left')", _("Another stage at the left"), show=False),
        Binding("full_stop", "turn_side('right')", _("Another stage at the right"), show=False),
        Binding("f", "reference", _("Beside the reference"), show=False),
        Binding("w", "whole", _("Whole answers"), show=False),
    ]

    @property
    def answers(self) -> Answers:
        return self.query_one(Answers)

    def action_turn(self, by: int) -> None:
        """Another prompt, from its beginning."""
        self.answers.turn(by)
        self.stay()

    def stay(self) -> None:
        """Where one reads after another prompt has come."""
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

    def show(self, view: RunView) -> None:
        """Draw the answers, if there are others than before."""
        self.answers.show(view.samples, view.ended)
