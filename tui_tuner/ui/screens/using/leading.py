"""Where a run that has ended leads: a chat, its model used on a file, the same run with a change."""

from __future__ import annotations

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.inference.origin import Origin, base_of, find_origin
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.ui.overview import run_values
from tui_tuner.ui.screens.base import TunerScreen


def origin_of(folder: RunFolder) -> Origin:
    """The best model of a run.

    Raises:
        TunerError: it has none.
    """
    return find_origin(str(folder.path.absolute()), RunStore(folder.path.parent))


def lead_on(screen: TunerScreen, folder: RunFolder, key: str) -> None:
    """What a key of `next_keys` leads to."""
    {"c": open_talk, "a": open_ask, "b": open_beside, "u": open_use, "s": run_again}[key](screen, folder)


def open_talk(screen: TunerScreen, folder: RunFolder) -> None:
    """Talk to a run's model."""
    from tui_tuner.ui.screens.chat.opening import open_chat

    open_chat(screen.app, folder)


def open_ask(screen: TunerScreen, folder: RunFolder) -> None:
    """Ask a run's model about a text."""
    from tui_tuner.ui.screens.ask import AskScreen

    try:
        kind = folder.config().task_kind
    except TunerError as error:
        screen.tuner.say(words_of(error), "error")
        return
    screen.app.push_screen(AskScreen(folder, kind))


def open_beside(screen: TunerScreen, folder: RunFolder) -> None:
    """Talk to a run's model and to what it began with, side by side; an earlier talk is gone on with."""
    from tui_tuner.ui.screens.chat.chat import ChatScreen
    from tui_tuner.ui.screens.chat.remembered import talk_with

    try:
        origin = origin_of(folder)
    except TunerError as error:
        screen.tuner.say(words_of(error), "error")
        return
    models, talk = [origin, base_of(origin)], talk_with(screen.app, origin.path)
    if talk is not None:  # answers of others stay in it for when they are taken again
        talk.models = list(models)
    screen.app.push_screen(ChatScreen(models, talk=talk))


def open_use(screen: TunerScreen, folder: RunFolder) -> None:
    """Use a run's model on a file; one that is under way is gone on with."""
    from tui_tuner.ui.screens.using.predicting import PredictScreen

    try:
        origin = origin_of(folder)
    except TunerError as error:
        screen.tuner.say(words_of(error), "error")
        return
    screen.app.push_screen(PredictScreen(origin))


def run_again(screen: TunerScreen, folder: RunFolder) -> None:
    """The settings of a run, to change and start again, at the field that was changed last."""
    tuner = screen.tuner
    try:
        values = run_values(folder)
    except TunerError as error:
        tuner.say(words_of(error), "error")
        return
    former = tuner.drafts.draft
    tuner.drafts.begin(values, folder.name, section=former.section, at=former.at)
    tuner.open_settings(folder.name)
