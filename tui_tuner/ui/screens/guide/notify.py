"""How one hears of the end of a run: the ways that `output.notify` has, to choose from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui_tuner.config.notices import entries_in, problem_of
from tui_tuner.locales import _
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import AskPath, Choose
from tui_tuner.ui.words import block

_NONE, _NTFY, _WEBHOOK = "none", "ntfy", "webhook"


def ask_notify(screen: TunerScreen, now: Any, taken: Callable[[list[str] | None], None]) -> None:
    """Let one choose.

    Args:
        now: The entries that are set.
        taken: Told the entries; None for no message.
    """
    answers = [
        (_NONE, _("No message"), ""),
        ("bell", _("Ring the terminal's bell"), _("Many terminals and tmux mark the window, too.")),
        ("desktop", _("A notice on this desktop"), _("Where the machine that trains is the one you sit at.")),
        (
            _NTFY,
            _("To a phone, by ntfy …"),
            _("Install the app ntfy and choose a topic that nobody guesses."),
        ),
        (_WEBHOOK, _("To a web address …"), _("A webhook of a chat, such as Slack, Discord or Teams.")),
    ]

    def answered(answer: str | None) -> None:
        if answer == _NONE:
            taken(None)
        elif answer == _NTFY:
            _ask(screen, _("The topic of ntfy, such as my-runs-7391"), "ntfy:", taken)
        elif answer == _WEBHOOK:
            _ask(screen, _("The address; ${NAME} stands for a variable of the environment"), "", taken)
        elif answer is not None:
            taken([answer])

    question = block(_("A message comes when the run ends, when it fails, and when its GPU stands idle."))
    dialog = Choose(_("Message"), question, answers)
    screen.app.push_screen(dialog, answered)
    first = str(now[0]) if isinstance(now, list) and now else "bell"
    kind = first.partition(":")[0]
    dialog.call_after_refresh(
        dialog.choose, {"ntfy": _NTFY, "http": _WEBHOOK, "https": _WEBHOOK}.get(kind, first)
    )


def _ask(screen: TunerScreen, question: str, before: str, taken: Callable[[list[str] | None], None]) -> None:
    def answered(text: str | None) -> None:
        if not text:
            return
        entries = entries_in(text if text.startswith(before) or "://" in text else before + text)
        problem = next(filter(None, map(problem_of, entries)), "")
        if problem:
            screen.tuner.say(problem, "error", 10)
        else:
            taken(entries)

    screen.app.push_screen(AskPath(_("Message"), question, ""), answered)
