"""How other screens come to a chat."""

from __future__ import annotations

from typing import Any

from textual.app import App

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.inference.leads import has_model
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.ui.hosting import tuner_of
from tui_tuner.ui.screens.chat.remembered import talk_with


def open_chat(app: App[Any], folder: RunFolder | None) -> None:
    """Talk to the model of a run; of one that writes no text, ask it. Without a run, choose a model."""
    from tui_tuner.ui.screens.chat.chat import ChatScreen

    if isinstance(app.screen, ChatScreen):
        return
    if folder is None:
        app.push_screen(ChatScreen([]))
        return
    try:
        kind = folder.config().task_kind
    except TunerError as error:
        tuner_of(app).say(words_of(error), "error")
        return
    if not has_model(folder):
        tuner_of(app).say(_("This run has saved no model yet."), "warning")
    elif kind.writes:
        path = str(folder.path.absolute())
        talk = talk_with(app, path)
        app.push_screen(ChatScreen(talk.models if talk else [path], talk=talk))
    else:
        from tui_tuner.ui.screens.ask import AskScreen

        app.push_screen(AskScreen(folder, kind))


def open_chat_from(app: App[Any]) -> None:
    """Talk to the run that is on view; else choose a model."""
    folder = getattr(app.screen, "folder", None)
    open_chat(app, folder if isinstance(folder, RunFolder) else None)
