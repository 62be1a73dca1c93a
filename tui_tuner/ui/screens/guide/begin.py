"""The way into the guide, and out of it: to a run, and from there to its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.app import App

from tui_tuner.guiding.answers import Answers
from tui_tuner.ui.screens.guide.walk import Walk
from tui_tuner.ui.screens.home import HomeScreen

QUESTIONS = ("task", "data", "model", "machine", "budget", "judge")

if TYPE_CHECKING:
    from tui_tuner.runs.store import RunFolder


def open_guide(app: App[Any], answers: Answers | None = None) -> None:
    """The first question. Whoever left the guide in this workbench finds the answers that were given.

    Args:
        answers: Those that are given already; their lines are under the cursor.
    """
    from tui_tuner.ui.screens.guide.goal import GoalQuestion
    from tui_tuner.ui.screens.guide.question import Question

    if isinstance(app.screen, Question):
        return
    home = app.screen_stack[0]
    walk = home.walk if isinstance(home, HomeScreen) and home.walk is not None else Walk()
    if answers is not None:
        walk = Walk(answers, {name for name in QUESTIONS if getattr(answers, name) is not None})
    if isinstance(home, HomeScreen):
        home.walk = walk
    app.push_screen(GoalQuestion(walk))


def show_run(app: App[Any], folder: RunFolder) -> None:
    """The live pane in place of the questions, above the home screen; at its end, the results."""
    from tui_tuner.ui.screens.run import RunScreen

    home = app.screen_stack[0]
    if isinstance(home, HomeScreen):
        home.walk = None
    while len(app.screen_stack) > 2:
        app.pop_screen()
    app.switch_screen(RunScreen(folder, then_results=True))
