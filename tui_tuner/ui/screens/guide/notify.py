"""How one hears of the end of a run: the ways that `output.notify` has, to choose from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui_tuner.config.notices import FIELD as NOTIFY
from tui_tuner.errors import ConfigError
from tui_tuner.guiding.machine import MessageChoice, message_choices
from tui_tuner.locales import _
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import AskPath, Choose
from tui_tuner.ui.words import block


def ask_notify(screen: TunerScreen, now: Any, taken: Callable[[list[str] | None], None]) -> None:
    """Let one choose.

    Args:
        now: The entries that are set.
        taken: Told the entries; None for no message.
    """
    choices = {choice.name: choice for choice in message_choices()}
    answers = [
        (name, choice.words + (" …" if choice.asks else ""), choice.needs) for name, choice in choices.items()
    ]

    def answered(answer: str | None) -> None:
        if answer is None:
            return
        if choices[answer].asks is not None:
            _ask(screen, choices[answer], taken)
        else:
            taken(choices[answer].values[NOTIFY] or None)

    question = block(_("A message comes when the run ends, when it fails, and when its GPU stands idle."))
    dialog = Choose(_("Message"), question, answers)
    screen.app.push_screen(dialog, answered)
    first = str(now[0]) if isinstance(now, list) and now else "bell"
    kind = first.partition(":")[0]
    dialog.call_after_refresh(dialog.choose, "webhook" if kind in ("http", "https") else kind)


def _ask(screen: TunerScreen, choice: MessageChoice, taken: Callable[[list[str] | None], None]) -> None:
    def answered(text: str | None) -> None:
        if not text:
            return
        try:
            taken(choice.values_of(text)[NOTIFY])
        except ConfigError as error:
            screen.tuner.say(error.what, "error", 10)

    question = choice.asks[0] if choice.asks is not None else choice.words
    screen.app.push_screen(AskPath(_("Message"), question, ""), answered)
