"""Opening the Textual app around a run, and staying alive for the run after the screen is gone."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from tui_tuner.errors import UsageError
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.ui.screens.at_once import First

_CANNOT_PAINT = ("dumb", "unknown")  # values of TERM; such as an editor's shell has


def can_show() -> bool:
    """Whether keys come from a terminal, and a screen can be painted on it."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "") not in _CANNOT_PAINT


def open_workbench(runs: str) -> int:
    """The Textual app's home screen.

    Raises:
        UsageError: there is no terminal.
    """
    require_screen(
        _("the workbench needs a terminal."), _("`tui-tuner run CONFIG --no-tui` works without one.")
    )
    return show(RunStore(runs))


def require_screen(what: str, hint: str) -> None:
    """Refuse what needs a screen where none can be shown.

    Raises:
        UsageError: there is no terminal, or none that can paint.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(what, hint=hint)
    if not can_show():
        kind = one_line(os.environ.get("TERM", ""), 40)
        raise UsageError(
            _("the workbench needs a terminal that can paint; TERM is {kind}.", kind=kind), hint=hint
        )


def show(
    store: RunStore,
    folder: RunFolder | None = None,
    *,
    train: bool = False,
    resume: bool = False,
    opened: First | None = None,
) -> int:
    """Open the workbench, or the live pane of `folder`; with `train`, train it in a thread of this process.

    With `opened`, the form begins with that config, or a chat is shown.

    Returns the exit code of the run that was on when the screen closed, or 0. If the screen closes while a
    run is on (the user chose so, or the terminal is gone), this process leaves the terminal and stays,
    without a screen, to the run's end.
    """
    gc.disable()  # what is made until the first frame stays; the app turns it on again
    from tui_tuner.launch.terminal.waiter import behind_waiter

    line = behind_waiter()  # before the imports: a small process forks sooner
    from tui_tuner.launch.output import captured
    from tui_tuner.launch.terminal.leaving import WayOut

    way_out = WayOut(line)
    with captured(folder.log if folder and train else None):
        way_out.begin()
        from tui_tuner.ui.app import run_app

        result = run_app(store, open_run=folder, train=train, resume=resume, opened=opened, way_out=way_out)
        code = way_out.end(result.exit_code, result.terminal_gone, result.words)
    return code if result.host is not None or way_out.signal else result.exit_code
