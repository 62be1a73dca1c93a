"""Opening the Textual app around a run, and staying alive for the run after the screen is gone."""

from __future__ import annotations

import gc
import sys

from tui_tuner.errors import EXIT_DONE, UsageError
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.text import one_line


def open_workbench(runs: str) -> int:
    """The Textual app's home screen.

    Raises:
        UsageError: there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            _("the workbench needs a terminal."), hint=_("`tui-tuner run CONFIG --no-tui` works without one.")
        )
    return show(RunStore(runs))


def show(
    store: RunStore, folder: RunFolder | None = None, *, train: bool = False, resume: bool = False
) -> int:
    """Open the workbench, or the live pane of `folder`; with `train`, train it in a thread of this process.

    Returns the exit code of the run that was on when the screen closed, or 0. If the screen closes while a
    run is on (the user chose so, or the terminal is gone), this process leaves the terminal and stays,
    without a screen, to the run's end.
    """
    gc.disable()  # what is made until the first frame stays; the app turns it on again
    from tui_tuner.launch.waiter import behind_waiter

    release = behind_waiter()  # before the imports: a small process forks sooner
    from tui_tuner.launch.output import captured
    from tui_tuner.launch.signals import install
    from tui_tuner.ui.app import run_app

    with captured(folder.log if folder and train else None) as terminal:
        result = run_app(store, open_run=folder, train=train, resume=resume)
        host = result.host
        if host is None:
            return result.exit_code
        install(host.control)
        if host.alive:
            if not result.terminal_gone:
                name = one_line(host.folder.name)
                words = _("run {name} goes on; see it with `tui-tuner attach {name}`", name=name)
                terminal.out.write(words + "\n")
                terminal.out.flush()
            release()
        while host.alive:
            host.join(0.5)  # in slices, so that signal handlers get their turn
        return host.outcome.exit_code if host.outcome else EXIT_DONE
