"""Shared by all hosts: runs the training core once, with journal, control and the run's lock."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui_tuner.errors import EXIT_FAILED, RunError, TunerError
from tui_tuner.launch.environment import prepare_environment
from tui_tuner.launch.lock import hold_lock
from tui_tuner.launch.stopping import StopWatcher
from tui_tuner.launch.watchdog import Watchdog
from tui_tuner.locales import _
from tui_tuner.notifying.notifier import IN_HASTE, Notifier
from tui_tuner.runs import ballast
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.death import find_cause_of_death
from tui_tuner.runs.events import EventSink, Finished, Phase, Warned
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.private_files import open_private
from tui_tuner.runs.secrets import get_current_scrubber
from tui_tuner.runs.store import RunFolder
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.config.schema import RunConfig
    from tui_tuner.training.ranks import Ranks


@dataclass(frozen=True)
class HostOutcome:
    """The outcome of a run in this process."""

    status: str
    exit_code: int
    message: str = ""


def host_run(
    folder: RunFolder,
    control: CommandReceiver,
    resume: bool = False,
    end: Callable[[int], None] | None = None,
) -> HostOutcome:
    """Train the run of `folder` in this thread until it ends. The core reports its failures in the journal.

    Args:
        folder: The run.
        control: Where its commands come from.
        resume: Whether to continue from its last checkpoint.
        end: Ends this process with an exit code, if it exists only for the run: then a stop before the first
            step does not wait for reading, importing or loading.

    Raises:
        UsageError: another process trains this run, or this is one of several processes.
        ConfigError: the folder's config is damaged, or needs code that the user has not agreed to run.
    """
    from tui_tuner.launch.beforehand import require_one_process

    ranks = require_one_process()
    # Asked before this process writes into the folder, which would hide the traces
    death = find_cause_of_death(folder) if folder.find_state() == "lost" else None
    with hold_lock(folder):
        config = folder.load_config()
        require_run_consent(folder, config)
        # Space that is freed for the journal when the disk is full, so that the run can report it
        ballast.reserve_ballast_space(folder.path)
        # A process that was killed could not mask its last lines
        get_current_scrubber().blank_out(folder.log_path)
        journal = _open_journal(folder)
        notifier = Notifier(journal, folder.name, config.output.notify)

        def sync_all() -> None:
            journal.sync()
            notifier.wait_for_pending(IN_HASTE)

        try:
            stopping = StopWatcher(control, sync_all, end)
            # Events pass the watchdog, then the notifier, then reach the journal
            with _log_crashes(folder), Watchdog(notifier, folder.path, stopping=stopping) as sink:
                if death is not None:
                    message = f"{_('The run was lost.')} {death.message}"
                    sink.emit(Warned(f"lost_{death.code}", message, death.hint))
                return _train_hosted(folder, sink, control, config, resume, ranks)
        finally:
            # Messages about the end are sent in threads, and the journal must stay open for their results
            notifier.wait_for_pending()
            journal.close()
            get_current_scrubber().blank_out(folder.log_path)


def require_run_consent(folder: RunFolder, config: RunConfig) -> None:
    """Check that the user has agreed to the code that comes with the run's model, if there is any.

    Raises:
        ConfigError: they have not; the folder may come from somebody else.
    """
    from tui_tuner.config import consent

    hint = _(
        "Check that code, and agree with `tui-tuner resume {name} --trust-remote-code`.",
        name=one_line(folder.name),
    )
    consent.require_code_consent(config.model, str(folder.path / "config.yaml"), hint)


def _open_journal(folder: RunFolder) -> JournalWriter:
    try:
        return JournalWriter(folder.events_path, folder.name)
    except OSError as error:
        raise RunError(
            _("the journal cannot be written: {problem}.", problem=error.strerror),
            where=one_line(folder.events_path),
            hint=_("Check its permissions, and move away anything else with this name."),
        ) from None


@contextmanager
def _log_crashes(folder: RunFolder) -> Iterator[None]:
    """Let a crash in a library (segmentation fault) write the threads' stacks into the run's log."""
    if faulthandler.is_enabled():
        yield
        return
    try:
        fd = open_private(folder.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except OSError:
        # The disk is full, which the run itself reports
        yield
        return
    try:
        faulthandler.enable(file=fd)
        yield
    finally:
        faulthandler.disable()
        os.close(fd)


def _train_hosted(
    folder: RunFolder,
    journal: EventSink,
    control: CommandReceiver,
    config: RunConfig,
    resume: bool,
    ranks: Ranks,
) -> HostOutcome:
    from tui_tuner.launch.beforehand import check_config_data
    from tui_tuner.training.resuming import check_resumed_edits

    try:
        if resume:
            check_resumed_edits(folder, config)
        # Reports a wrong path at once, not after the slow imports
        check_config_data(config)
    except TunerError as error:
        ended = Finished.from_error(error)
        journal.emit(ended)
        return HostOutcome("failed", error.exit_code, ended.message)
    journal.emit(Phase("loading", note=_("importing torch and transformers")))
    prepare_environment()
    try:
        # Takes seconds: torch, transformers, peft
        from tui_tuner.training import session
    except Exception as error:
        message = _("the training core cannot be imported: {error}", error=error)
        hint = _("Check the installation with `tui-tuner doctor`.")
        journal.emit(Finished("failed", EXIT_FAILED, message, hint))
        raise TunerError(message, hint=hint) from error
    outcome = session.run_training(config, folder, journal, control, resume, ranks)  # type: ignore[arg-type]
    return HostOutcome(outcome.status, outcome.exit_code, outcome.message)
