"""Fetching while other screens are on view: what came of it, and leaving the workbench meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from textual.app import App

from tui_tuner.locales import _
from tui_tuner.text import human_bytes, one_line
from tui_tuner.ui.base_models.fetches import DONE, FAILED, Job
from tui_tuner.ui.hosting import Tuner, tuner_of
from tui_tuner.ui.screens.dialogs import Confirm
from tui_tuner.ui.screens.models.fetching import FetchingScreen
from tui_tuner.ui.widgets.models.fetch_line import amount_words


def say_ended(app: object, job: Job) -> None:
    """A notice about a model that came, or did not; the screen of models draws it."""
    tuner, name, screens = tuner_of(app), one_line(job.name, 60), cast(App[Any], app).screen_stack
    if job.state == DONE:
        size = human_bytes(job.total or job.done)
        tuner.say(_("✓ {name} is on this machine now ({size}).", name=name, size=size), timeout=10)
    elif job.state == FAILED and not isinstance(screens[-1], FetchingScreen):  # which says it at the model
        said = _("Fetching {name} failed. m on the home screen, then f, tells what can be done.", name=name)
        tuner.say(f"{said} {one_line(job.words, 200)}", "error", 15)
    for screen in screens:
        if isinstance(screen, FetchingScreen):
            screen.fetch_ended()


def ask_to_quit(tuner: Tuner, job: Job, leave: Callable[[], object]) -> None:
    """Ask before a workbench closes that fetches a model."""
    app = cast(App[Any], tuner)
    if isinstance(app.screen, Confirm):
        return
    name = one_line(job.name, 60)
    question = _(
        "{name} is being fetched: {amount}. That ends with the workbench; what has come stays, and "
        "fetching it again goes on from there.",
        name=name,
        amount=amount_words(job),
    )

    def answered(yes: bool | None) -> None:
        if yes:
            app.call_later(leave)

    code = f"tui-tuner models fetch {name}"
    app.push_screen(Confirm(_("Quit"), question, _("Quit"), _("Stay"), code), answered)
