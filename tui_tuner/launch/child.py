"""Starts runs in separate processes with their own session, so that closing a terminal does not end them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from tui_tuner.errors import RunError, TunerError
from tui_tuner.launch.output_capture import open_output_log
from tui_tuner.launch.spawning import ChildProcess
from tui_tuner.locales import _
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import format_seconds, one_line

SLOW = 60.0  # seconds after which a process that has not started the run is reported as slow
_POLL = 0.05


def start_worker(folder: RunFolder, resume: bool = False) -> ChildProcess:
    """Start the worker process of a run, with its output in the run's log. It outlives this process.

    Raises:
        RunError: the log cannot be written.
        OSError: the process cannot be started.
    """
    log = open_output_log(folder.log_path)
    try:
        # Absolute: the worker must find it whatever its working folder is
        arguments = [str(folder.path.resolve()), *["--resume"] * resume, *_pass_consent(folder)]
        return ChildProcess("tui_tuner.launch.worker", *arguments, stdout=log, stderr=log)
    finally:
        # The child has its own copy of the descriptor
        os.close(log)


def _pass_consent(folder: RunFolder) -> list[str]:
    """Pass the user's consent to the worker, in case it could not be saved to the disk."""
    from tui_tuner.config import consent

    try:
        model = folder.load_config().model
    except TunerError:
        # The worker will report the same error
        return []
    agreed = model.trust_remote_code and consent.is_code_allowed(model)
    return ["--trust-remote-code"] * agreed


def start_detached(
    folder: RunFolder,
    resume: bool = False,
    say: Callable[[str], None] = lambda _: None,
    enough: Callable[[], bool] = lambda: False,
) -> int:
    """Start the worker of a run, and wait without limit until it has taken over the run.

    If an exception (Ctrl+C) ends the wait, the worker is killed, as the user would not know that it trains.

    Args:
        say: Called once if it takes long.
        enough: Returns true to stop waiting and leave the worker running.

    Returns:
        The worker's process id.

    Raises:
        RunError: the worker ended before it took over the run.
    """
    child = start_worker(folder, resume)
    began, said = time.monotonic(), False
    try:
        # The worker writes its pid into the manifest once it holds the run's lock
        while folder.read_manifest().get("pid") != child.pid:
            if child.poll() is not None:
                raise _describe_end(folder, child)
            if not said and time.monotonic() - began > SLOW:
                said = True
                say(
                    _(
                        "the background process has not started the run after {slow}; still waiting.",
                        slow=format_seconds(SLOW),
                    )
                )
            if enough():
                break
            time.sleep(_POLL)
    except BaseException:
        child.end_child()
        raise
    return child.pid


def _describe_end(folder: RunFolder, child: ChildProcess) -> RunError:
    death = child.describe_death()
    return RunError(
        _("the background process {ended} before it started the run.", ended=death.message),
        where=one_line(folder.path),
        hint=f"{death.hint} {_('Its output is in {path}.', path=one_line(folder.log_path))}".strip(),
    )
