"""Opening the guide."""

from __future__ import annotations

from typing import Any

from textual.app import App

from tui_tuner.guiding.guide_answers import Answers
from tui_tuner.ui.screens.guide.goal_question import GoalQuestion
from tui_tuner.ui.screens.guide.guide_question import Question
from tui_tuner.ui.screens.guide.guide_walk import QUESTIONS, Walk, find_walk, keep_walk


def open_guide(app: App[Any], answers: Answers | None = None) -> None:
    """Open the first question, with the answers of an earlier walk through the guide, if there was one.

    Args:
        answers: Answers that were given on the command line; they are preselected.
    """
    # The palette offers the guide everywhere, and a second one would share the answers of the first.
    if isinstance(app.screen, Question):
        return
    if answers is not None:
        keep_walk(app, Walk(answers, {name for name in QUESTIONS if getattr(answers, name) is not None}))
    app.push_screen(GoalQuestion(find_walk(app)))
