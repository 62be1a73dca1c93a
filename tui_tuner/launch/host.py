"""What all hosts share: one call of the training core with a journal, a control and the run held."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui_tuner.errors import EXIT_FAILED, RunError, TunerError
from tui_tuner.launch.environment import prepare_environment
from tui_tuner.launch.lock import owned
from tui_tuner.launch.stopping import Stopping
from tui_tuner.launch.watchdog import Watchdog
from tui_tuner.locales import _
from tui_tuner.notifying.notifier import IN_HASTE, Notifier
from tui_tuner.runs import ballast
from tui_tuner.runs.control import Control
from tui_tuner.runs.death import cause_of_death
from tui_tuner.runs.events import Finished, Phase, Sink, Warned
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.private import open_private
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


def host(
    folder: RunFolder, control: Control, resume: bool = False, end: Callable[[int], None] | None = None
) -> Ended:
    """Train `folder`'s run in this thread until it ends. The core reports its own failures in the journal.

    Args:
        folder: The run.
        control: What it is told.
        resume: Whether it goes on from its last checkpoint.
        end: Ends this process with an exit code, where it is there for the run alone: a stop before the first
            step does not wait then for what is just read, imported or loaded.

    Raises:
        UsageError: another process trains this run, or this is one of several processes.
        ConfigError: the folder's config is damaged, or asks for code that nobody here agreed to run.
    """
    from tui_tuner.launch.beforehand import one_process

    ranks = one_process()
    death = cause_of_death(folder) if folder.state() == "lost" else None
    with owned(folder):
        config = folder.config()
        require_consent(folder, config)
        ballast.put(folder.path)
        scrubber().blank_out(folder.log)  # what a process that was killed has left
        journal = _open_journal(folder)
        notifier = Notifier(journal, folder.name, config.output.notify)

        def sync() -> None:
            journal.sync()
            notifier.wait(IN_HASTE)

        try:
            stopping = Stopping(control, sync, end)
            with _crashes_logged(folder), Watchdog(notifier, folder.path, stopping=stopping) as sink:
                if death is not None:
                    message = f"{_('The run was lost.')} {death.message}"
                    sink.emit(Warned(f"lost_{death.code}", message, death.hint))
                return _train(folder, sink, control, config, resume, ranks)
        finally:
            notifier.wait()
            journal.close()
            scrubber().blank_out(folder.log)


def require_consent(folder: RunFolder, config: RunConfig) -> None:
    """The user has agreed to the code that the run's model comes with, if any is to run.

    Raises:
        ConfigError: they have not: the folder may be a stranger's.
    """
    from tui_tuner.config import consent

    hint = _(
        "Look at that code, and agree with `tui-tuner resume {name} --trust-remote-code`.",
        name=one_line(folder.name),
    )
    consent.require(config.model, str(folder.path / "config.yaml"), hint)


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
        fd = open_private(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
