"""The next steps of a finished run: chat, ask, compare, use its model on a file, export, run again."""

from __future__ import annotations

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.inference.origin import Origin, find_base_origin, find_origin
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.ui.run_overview import read_run_values
from tui_tuner.ui.screens.screen_base import TunerScreen


def find_best_run_model(folder: RunFolder) -> Origin:
    """Return the best model of a run.

    Raises:
        TunerError: the run has no model.
    """
    return find_origin(str(folder.path.absolute()), RunStore(folder.path.parent))


def open_next_step(screen: TunerScreen, folder: RunFolder, key: str) -> None:
    """Open the next step of a key of `list_next_keys`."""
    {
        "c": open_run_chat,
        "a": open_ask_screen,
        "b": open_chat_beside_base,
        "u": open_use_screen,
        "e": open_export_screen,
        "s": open_settings_again,
    }[key](screen, folder)


def open_run_chat(screen: TunerScreen, folder: RunFolder) -> None:
    """Open a chat with a run's model."""
    from tui_tuner.ui.screens.chat.open_chat import open_chat_screen

    open_chat_screen(screen.app, folder)


def open_ask_screen(screen: TunerScreen, folder: RunFolder) -> None:
    """Open the screen that asks a run's model about a text."""
    from tui_tuner.ui.screens.ask import AskScreen

    try:
        kind = folder.load_config().task_kind
    except TunerError as error:
        screen.tuner_app.show_notice(format_error_words(error), "error")
        return
    screen.app.push_screen(AskScreen(folder, kind))


def open_chat_beside_base(screen: TunerScreen, folder: RunFolder) -> None:
    """Open a chat with a run's model and its base model, side by side; an earlier chat is continued."""
    from tui_tuner.ui.screens.chat.chat_screen import ChatScreen
    from tui_tuner.ui.screens.chat.kept_talks import find_talk

    try:
        origin = find_best_run_model(folder)
    except TunerError as error:
        screen.tuner_app.show_notice(format_error_words(error), "error")
        return
    models, talk = [origin, find_base_origin(origin)], find_talk(screen.app, origin.path)
    if talk is not None:
        # Answers of models that are no longer in the chat stay in it, in case one of them is added again.
        talk.models = list(models)
    screen.app.push_screen(ChatScreen(models, talk=talk))


def open_use_screen(screen: TunerScreen, folder: RunFolder) -> None:
    """Open the screen that uses a run's model on a file, with its job if one is running."""
    from tui_tuner.ui.screens.using.predict_screen import PredictScreen

    try:
        origin = find_best_run_model(folder)
    except TunerError as error:
        screen.tuner_app.show_notice(format_error_words(error), "error")
        return
    screen.app.push_screen(PredictScreen(origin))


def open_export_screen(screen: TunerScreen, folder: RunFolder) -> None:
    """Open the screen that exports a run's model, with its export if one is running."""
    from tui_tuner.ui.screens.exporting.export_screen import ExportScreen

    try:
        origin = find_best_run_model(folder)
    except TunerError as error:
        screen.tuner_app.show_notice(format_error_words(error), "error")
        return
    screen.app.push_screen(ExportScreen(origin))


def open_settings_again(screen: TunerScreen, folder: RunFolder) -> None:
    """Open the settings of a run to start it again, at the field that was focused last."""
    tuner = screen.tuner_app
    try:
        values = read_run_values(folder)
    except TunerError as error:
        tuner.show_notice(format_error_words(error), "error")
        return
    # The field that was focused last is most likely the one to change again.
    former = tuner.drafts.draft
    tuner.drafts.begin_draft(values, folder.name, section=former.section, at=former.at)
    tuner.open_settings(folder.name)
