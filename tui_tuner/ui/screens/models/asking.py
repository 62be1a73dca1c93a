"""How other screens come to the models: ask for one, or begin with one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from textual.app import App

from tui_tuner.ui.hosting import Tuner
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.offers import MendingScreen, put_values

Answered = Callable[[Mapping[str, Any]], Awaitable[None] | None]


def ask_model(screen: TunerScreen, answered: Answered) -> None:
    """Choose a model above a screen.

    Args:
        answered: Called once `screen` is on view again, with the values for the draft by the dotted names of
            their fields; not called where none was chosen. The draft is left to it.
    """
    from tui_tuner.ui.screens.models.browse import ModelsScreen

    def chosen(values: Mapping[str, Any]) -> None:
        screen.call_later(answered, values)

    screen.app.push_screen(ModelsScreen(chosen))


def open_models(tuner: Tuner) -> None:
    """Show the models. One that is chosen goes into the draft, on a screen that shows it."""
    from tui_tuner.ui.screens.models.browse import ModelsScreen

    app = cast(App[Any], tuner)
    below = app.screen
    if isinstance(below, ModelsScreen):
        return
    if isinstance(below, MendingScreen):
        ask_model(below, below.take)
        return

    def chosen(values: Mapping[str, Any]) -> None:
        put_values(tuner, values)
        tuner.open_settings(tuner.drafts.draft.name)

    app.push_screen(ModelsScreen(chosen))
