"""Downloads in the background: the notice at their end, and the question before the workbench closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from textual.app import App

from tui_tuner.locales import _
from tui_tuner.text import format_bytes, one_line
from tui_tuner.ui.base_models.fetches import DONE, FAILED, FetchJob
from tui_tuner.ui.hosting import Tuner, get_tuner_app
from tui_tuner.ui.screens.dialogs import ConfirmDialog
from tui_tuner.ui.screens.models.fetch_keys import FetchingScreen
from tui_tuner.ui.widgets.models.fetch_line import format_fetched_amount


def report_download_end(app: object, job: FetchJob) -> None:
    """Report the end of a download as a notice, and update the screens that list models."""
    tuner, name, screens = get_tuner_app(app), one_line(job.name, 60), cast(App[Any], app).screen_stack
    if job.state == DONE:
        size = format_bytes(job.total or job.done)
        tuner.show_notice(_("✓ {name} is on this machine now ({size}).", name=name, size=size), timeout=10)
    elif job.state == FAILED and not isinstance(screens[-1], FetchingScreen):
        # The screen of models shows the failure at its line of the list
        said = _(
            "Downloading {name} failed. Press m on the home screen, then f, to see the options.", name=name
        )
        tuner.show_notice(f"{said} {one_line(job.words, 200)}", "error", 15)
    for screen in screens:
        if isinstance(screen, FetchingScreen):
            screen.fetch_ended()


def confirm_quit_during_download(tuner: Tuner, job: FetchJob, leave: Callable[[], object]) -> None:
    """Ask before the workbench closes during a download."""
    app = cast(App[Any], tuner)
    # A second press of the key must not stack the same question.
    if isinstance(app.screen, ConfirmDialog):
        return
    name = one_line(job.name, 60)
    question = _(
        "{name} is being downloaded: {amount}. The download stops when the workbench closes; it resumes "
        "from there when you fetch the model again.",
        name=name,
        amount=format_fetched_amount(job),
    )

    def quit_if_confirmed(yes: bool | None) -> None:
        if yes:
            # Later, as the dialog is still closing now and would be the screen that is left.
            app.call_later(leave)

    code = f"tui-tuner models fetch {name}"
    app.push_screen(ConfirmDialog(_("Quit"), question, _("Quit"), _("Stay"), code), quit_if_confirmed)
