"""A run in a process of its own, in a session of its own: no terminal can take it along."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from tui_tuner.errors import RunError, TunerError
from tui_tuner.launch.output import open_log
from tui_tuner.launch.spawning import Child
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import human_seconds, one_line

SLOW = 60.0  # seconds after which a process that has not begun is said to be slow
_POLL = 0.05


def start_worker(folder: RunFolder, resume: bool = False) -> Child:
    """The worker of a run, with its output in the run's log. It outlives this process.

    Raises:
        RunError: the log cannot be written.
        OSError: the system starts no process.
    """
    log = open_log(folder.log)
    try:
        arguments = [str(folder.path.resolve()), *["--resume"] * resume, *_consent(folder)]
        return Child("tui_tuner.launch.worker", *arguments, stdout=log, stderr=log)
    finally:
        os.close(log)


def _consent(folder: RunFolder) -> list[str]:
    """Where the user's word cannot be kept on the disk, it is handed on."""
    from tui_tuner.config import consent

    try:
        model = folder.config().model
    except TunerError:
        return []  # the worker says so
    agreed = model.trust_remote_code and consent.allowed(model)
    return ["--trust-remote-code"] * agreed


def start_detached(
    folder: RunFolder,
    resume: bool = False,
    say: Callable[[str], None] = lambda _: None,
    enough: Callable[[], bool] = lambda: False,
) -> int:
    """Start the worker of a run, and wait until it owns the run, however long that takes.

    If an exception (Ctrl-C) ends the wait, the worker is ended too: nobody would know that it trains.

    Args:
        say: Told, once, when it takes long.
        enough: Whether to wait no longer, and leave the worker to itself.

    Returns:
        The worker's process id.

    Raises:
        RunError: the worker ended before it owned the run.
    """
    child = start_worker(folder, resume)
    began, said = time.monotonic(), False
    try:
        while folder.manifest().get("pid") != child.pid:
            if child.poll() is not None:
                raise _ended(folder, child)
            if not said and time.monotonic() - began > SLOW:
                said = True
                say(
                    _(
                        "the background process has not begun after {slow}; still waiting for it.",
                        slow=human_seconds(SLOW),
                    )
                )
            if enough():
                break
            time.sleep(_POLL)
    except BaseException:
        child.end()
        raise
    return child.pid


def _ended(folder: RunFolder, child: Child) -> RunError:
    death = child.death()
    return RunError(
        _("the background process {ended}, before it began.", ended=death.message),
        where=one_line(folder.path),
        hint=f"{death.hint} {_('Its output is in {path}.', path=one_line(folder.log))}".strip(),
    )
