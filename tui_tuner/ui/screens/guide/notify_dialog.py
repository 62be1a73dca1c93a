"""Choosing how the user is notified of the end of a run (`output.notify`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui_tuner.config.notices import FIELD as NOTIFY
from tui_tuner.errors import ConfigError
from tui_tuner.guiding.machine import MessageChoice, list_message_choices
from tui_tuner.locales import _
from tui_tuner.ui.screen_words import make_safe_block
from tui_tuner.ui.screens.dialogs import ChoiceDialog, PathDialog
from tui_tuner.ui.screens.screen_base import TunerScreen


def ask_notify(screen: TunerScreen, now: Any, taken: Callable[[list[str] | None], None]) -> None:
    """Ask for the kind of message, and for its address if it needs one.

    Args:
        now: The entries that are set now.
        taken: Called with the entries; None for no message.
    """
    choices = {choice.name: choice for choice in list_message_choices()}
    answers = [
        (name, choice.words + (" …" if choice.asks else ""), choice.needs) for name, choice in choices.items()
    ]

    def take_kind(answer: str | None) -> None:
        if answer is None:
            return
        if choices[answer].asks is not None:
            _ask_address(screen, choices[answer], taken)
        else:
            taken(choices[answer].values[NOTIFY] or None)

    question = make_safe_block(
        _("You get a message when the run ends, when it fails, and when its GPU is idle.")
    )
    dialog = ChoiceDialog(_("Message"), question, answers)
    screen.app.push_screen(dialog, take_kind)
    first = str(now[0]) if isinstance(now, list) and now else "bell"
    kind = first.partition(":")[0]
    # After the refresh, because the list does not exist before. A webhook is set as its address.
    dialog.call_after_refresh(dialog.highlight_answer, "webhook" if kind in ("http", "https") else kind)


def _ask_address(
    screen: TunerScreen, choice: MessageChoice, taken: Callable[[list[str] | None], None]
) -> None:
    def take_address(text: str | None) -> None:
        if not text:
            return
        try:
            taken(choice.fill_values(text)[NOTIFY])
        except ConfigError as error:
            screen.tuner_app.show_notice(error.what, "error", 10)

    question = choice.asks[0] if choice.asks is not None else choice.words
    screen.app.push_screen(PathDialog(_("Message"), question, ""), take_address)
