"""What all parts of one run share."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tui_tuner.config.schema import RunConfig
from tui_tuner.runs.events import Body, RowLedger
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.wire import fields_of
from tui_tuner.tasks import Task
from tui_tuner.training.commands import Commands
from tui_tuner.training.keeping.checkpoints import Checkpoint
from tui_tuner.training.keeping.progress import Progress
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.watching.reporting import Reporter

LEDGER = "ledger.json"
LEARNED = "learned.json"


@dataclass
class RunContext:
    """A run from its first second to its last.

    Args:
        asked: The config as it was asked for.
        checkpoint: Where a resumed run continues; None for a new one.
        progress: Counters that outlive the process.
        ranks: This process among those that train the run.
    """

    asked: RunConfig
    folder: RunFolder
    reporter: Reporter
    commands: Commands
    task: Task
    checkpoint: Checkpoint | None
    progress: Progress
    ranks: Ranks

    def write(self, name: str, text: str) -> None:
        """Write a file of the run folder, in the main process alone."""
        if self.ranks.main:
            self.folder.write(name, text)

    def emit(self, body: Body) -> None:
        """What preparing the rows says, to the journal; the row ledger is kept in the run folder too."""
        if isinstance(body, RowLedger):
            self.write(LEDGER, json.dumps(fields_of(body), indent=1))
        self.reporter.emit(body)
