"""What all hosts share: one call of the training core with a journal, a control and the run held."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui_tuner.errors import EXIT_FAILED, RunError, TunerError
from tui_tuner.launch.environment import prepare_environment
from tui_tuner.launch.lock import owned
from tui_tuner.launch.watchdog import Watchdog
from tui_tuner.locales import _
from tui_tuner.runs import ballast
from tui_tuner.runs.control import Control
from tui_tuner.runs.death import cause_of_death
from tui_tuner.runs.events import Finished, Phase, Sink, Warned
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.secrets import scrubber
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.training.ranks import Ranks


@dataclass(frozen=True)
class Ended:
    """How a run ended, in this process."""

    status: str
    exit_code: int
    message: str = ""


def host(folder: RunFolder, control: Control, resume: bool = False) -> Ended:
    """Train `folder`'s run in this thread until it ends. The core reports its own failures in the journal.

    Raises:
        UsageError: another process trains this run, or this is one of several processes.
        ConfigError: the folder's config is damaged.
    """
    from tui_tuner.launch.beforehand import one_process

    ranks = one_process()
    death = cause_of_death(folder) if folder.state() == "lost" else None
    with owned(folder):
        config = folder.config()
        ballast.put(folder.path)
        journal = _open_journal(folder)
        try:
            with _crashes_logged(folder), Watchdog(journal, folder.path) as sink:
                if death is not None:
                    message = f"{_('The run was lost.')} {death.message}"
                    sink.emit(Warned(f"lost_{death.code}", message, death.hint))
                return _train(folder, sink, control, config, resume, ranks)
        finally:
            journal.close()
            scrubber().blank_out(folder.log)


def _open_journal(folder: RunFolder) -> JournalWriter:
    try:
        return JournalWriter(folder.events, folder.name)
    except OSError as error:
        raise RunError(
            _("the journal cannot be written: {problem}.", problem=error.strerror),
            where=one_line(folder.events),
            hint=_("Move away what is there, and look at its permissions."),
        ) from None


@contextmanager
def _crashes_logged(folder: RunFolder) -> Iterator[None]:
    """Let a crash inside a library (a segmentation fault) leave the threads' stacks in the run's log."""
    if faulthandler.is_enabled():
        yield
        return
    try:
        fd = os.open(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError:  # no room: the run itself will say so
        yield
        return
    try:
        faulthandler.enable(file=fd)
        yield
    finally:
        faulthandler.disable()
        os.close(fd)


def _train(
    folder: RunFolder, journal: Sink, control: Control, config: RunConfig, resume: bool, ranks: Ranks
) -> Ended:
    from tui_tuner.launch.beforehand import check_data
    from tui_tuner.training.resuming import check_edits

    try:
        if resume:
            check_edits(folder, config)
        check_data(config)  # a wrong path is told in a moment, and not after the imports
    except TunerError as error:
        ended = Finished.failed(error)
        journal.emit(ended)
        return Ended("failed", error.exit_code, ended.message)
    journal.emit(Phase("loading", note=_("importing torch and transformers")))
    prepare_environment()
    try:
        from tui_tuner.training import session  # seconds: torch, transformers, peft
    except Exception as error:
        message = _("the training core cannot be imported: {error}", error=error)
        hint = _("Check the installation with `tui-tuner doctor`.")
        journal.emit(Finished("failed", EXIT_FAILED, message, hint))
        raise TunerError(message, hint=hint) from error
    outcome = session.run(config, folder, journal, control, resume, ranks)  # type: ignore[arg-type]
    return Ended(outcome.status, outcome.exit_code, outcome.message)
