"""Opening the models from other screens: to choose one for a field, or to start a run with one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from textual.app import App

from tui_tuner.ui.hosting import Tuner
from tui_tuner.ui.screens.fixing import FixingScreen, put_fix_values
from tui_tuner.ui.screens.screen_base import TunerScreen

Answered = Callable[[Mapping[str, Any]], Awaitable[None] | None]


def ask_for_base_model(screen: TunerScreen, answered: Answered) -> None:
    """Let the user choose a model on top of a screen.

    Args:
        answered: Called once `screen` is visible again, with the values for the draft, keyed by dotted field
            names; not called if none was chosen. It must update the draft itself.
    """
    from tui_tuner.ui.screens.models.models_screen import ModelsScreen

    def answer_later(values: Mapping[str, Any]) -> None:
        # Later: the screen of models is still on top now, and a notice or a dialog would appear on it.
        screen.call_later(answered, values)

    screen.app.push_screen(ModelsScreen(answer_later))


def open_models_screen(tuner: Tuner) -> None:
    """Show the models. The chosen one goes into the draft, and a screen that shows the draft opens."""
    from tui_tuner.ui.screens.models.models_screen import ModelsScreen

    app = cast(App[Any], tuner)
    below = app.screen
    if isinstance(below, ModelsScreen):
        return
    # A screen that shows the draft takes the model itself; opening the settings would cover it.
    if isinstance(below, FixingScreen):
        ask_for_base_model(below, below.take_values)
        return

    def begin_with(values: Mapping[str, Any]) -> None:
        put_fix_values(tuner, values)
        tuner.open_settings(tuner.drafts.draft.name)

    app.push_screen(ModelsScreen(begin_with))
