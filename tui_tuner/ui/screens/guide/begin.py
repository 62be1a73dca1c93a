"""The way into the guide."""

from __future__ import annotations

from typing import Any

from textual.app import App

from tui_tuner.guiding.answers import Answers
from tui_tuner.ui.screens.guide.goal import GoalQuestion
from tui_tuner.ui.screens.guide.question import Question
from tui_tuner.ui.screens.guide.walk import QUESTIONS, Walk, keep_walk, walk_of


def open_guide(app: App[Any], answers: Answers | None = None) -> None:
    """The first question. Whoever left the guide in this workbench finds the answers that were given.

    Args:
        answers: Those that are given already; their lines are under the cursor.
    """
    if isinstance(app.screen, Question):
        return
    if answers is not None:
        keep_walk(app, Walk(answers, {name for name in QUESTIONS if getattr(answers, name) is not None}))
    app.push_screen(GoalQuestion(walk_of(app)))
