"""Opening a chat from other screens."""

from __future__ import annotations

from typing import Any

from textual.app import App

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.inference.leads import has_saved_model
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.ui.hosting import get_tuner_app
from tui_tuner.ui.screens.chat.kept_talks import find_talk


def open_chat_screen(app: App[Any], folder: RunFolder | None) -> None:
    """Open a chat with a run's model, or the ask screen if it writes no text; without a run, ask for one."""
    from tui_tuner.ui.screens.chat.chat_screen import ChatScreen

    # The palette offers this everywhere, and a second chat would load the models a second time.
    if isinstance(app.screen, ChatScreen):
        return
    if folder is None:
        app.push_screen(ChatScreen([]))
        return
    try:
        kind = folder.load_config().task_kind
    except TunerError as error:
        get_tuner_app(app).show_notice(format_error_words(error), "error")
        return
    if not has_saved_model(folder):
        get_tuner_app(app).show_notice(_("This run has not saved a model yet."), "warning")
    elif kind.talks:
        path = str(folder.path.absolute())
        talk = find_talk(app, path)
        app.push_screen(ChatScreen(talk.models if talk else [path], talk=talk))
    else:
        from tui_tuner.ui.screens.ask import AskScreen

        app.push_screen(AskScreen(folder, kind))


def open_chat_from(app: App[Any]) -> None:
    """Open a chat with the run on view; without one, ask for a model."""
    folder = getattr(app.screen, "folder", None)
    open_chat_screen(app, folder if isinstance(folder, RunFolder) else None)
