"""Opens the Textual app around a run, and keeps the process alive for the run after the screen closes."""

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
    from tui_tuner.ui.screens.first_screen import First

_CANNOT_PAINT = ("dumb", "unknown")  # values of TERM, as in the shells of some editors


def can_show_screen() -> bool:
    """Return whether input and output are a terminal that can show a screen."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "") not in _CANNOT_PAINT


def open_workbench(runs: str) -> int:
    """Open the workbench on its home screen; return the exit code.

    Raises:
        UsageError: there is no terminal.
    """
    require_screen(
        _("the workbench needs a terminal."), _("`tui-tuner run CONFIG --no-tui` works without one.")
    )
    return show_screen(RunStore(runs))


def require_screen(what: str, hint: str) -> None:
    """Raise an error if no screen can be shown.

    Raises:
        UsageError: there is no terminal, or it cannot show a screen.
    """
    # Two messages: without a terminal another command helps, with a limited one another TERM
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(what, hint=hint)
    if not can_show_screen():
        kind = one_line(os.environ.get("TERM", ""), 40)
        raise UsageError(
            _("the workbench needs a terminal that can show a screen, but TERM is {kind}.", kind=kind),
            hint=hint,
        )


def show_screen(
    store: RunStore,
    folder: RunFolder | None = None,
    *,
    train: bool = False,
    resume: bool = False,
    opened: First | None = None,
) -> int:
    """Open the workbench, or the live pane of `folder`; with `train`, train it in a thread of this process.

    With `opened`, the form starts with that config, or a chat is shown.

    Returns the exit code of the run that was active when the screen closed, or 0. If the screen closes while
    a run is active (by choice, or because the terminal was closed), this process leaves the terminal and
    stays without a screen until the run ends.
    """
    # Objects made before the first frame stay alive anyway; the app enables it again
    gc.disable()
    from tui_tuner.launch.terminal.waiter import fork_behind_waiter

    # Before the imports, as a small process forks faster
    line = fork_behind_waiter()
    from tui_tuner.launch.output_capture import capture_output
    from tui_tuner.launch.terminal.leaving import WayOut

    way_out = WayOut(line)
    with capture_output(folder.log_path if folder and train else None):
        # Before Textual is imported: a signal in these seconds must not be lost
        way_out.start_listening()
        from tui_tuner.ui.app import run_workbench_app

        result = run_workbench_app(
            store, open_run=folder, train=train, resume=resume, opened=opened, way_out=way_out
        )
        code = way_out.finish_process(result.exit_code, result.terminal_gone, result.words)
    return code if result.host is not None or way_out.signal else result.exit_code
