"""What all hosts share: one call of the training core with a journal, a control and the run held."""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.errors import EXIT_FAILED, TunerError
from tui_tuner.launch.lock import owned
from tui_tuner.runs.control import Control
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunFolder


@dataclass(frozen=True)
class Ended:
    """How a run ended, in this process."""

    status: str
    exit_code: int
    message: str = ""


def host(folder: RunFolder, control: Control, resume: bool = False) -> Ended:
    """Train `folder`'s run in this thread until it ends. The core reports its own failures in the journal.

    Raises:
        UsageError: another process trains this run.
        ConfigError: the folder's config is damaged.
    """
    with owned(folder):
        config = folder.config()
        journal = JournalWriter(folder.events, folder.name)
        try:
            return _train(folder, journal, control, config, resume)
        finally:
            journal.close()


def _train(
    folder: RunFolder, journal: JournalWriter, control: Control, config: object, resume: bool
) -> Ended:
    journal.emit("phase", name="loading", note="importing torch and transformers")
    try:
        from tui_tuner.training import session  # seconds: torch, transformers, peft
    except Exception as error:
        message = f"the training core cannot be imported: {error}"
        hint = "Check the installation with `tui-tuner doctor`."
        journal.emit("finished", status="failed", exit_code=EXIT_FAILED, message=message, hint=hint)
        raise TunerError(message, hint=hint) from error
    outcome = session.run(config, folder, journal, control, resume=resume)  # type: ignore[arg-type]
    return Ended(outcome.status, outcome.exit_code, outcome.message)
