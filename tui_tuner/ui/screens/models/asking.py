"""How other screens come to the models: ask for one, or begin with one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from textual.app import App

from tui_tuner.ui.hosting import Tuner
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.offers import put_values

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
    """Show the models; one that is chosen goes into the draft, and the settings open."""
    from tui_tuner.ui.screens.models.browse import ModelsScreen
    from tui_tuner.ui.screens.settings import SettingsScreen

    app = cast(App[Any], tuner)

    def chosen(values: Mapping[str, Any]) -> None:
        put_values(tuner, values)
        instead = isinstance(app.screen, SettingsScreen)
        tuner.open_settings(tuner.drafts.draft.name, instead=instead)

    if not isinstance(app.screen, ModelsScreen):
        app.push_screen(ModelsScreen(chosen))
