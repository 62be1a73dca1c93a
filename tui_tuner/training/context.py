"""The objects that all parts of one run share."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tui_tuner.config.schema import RunConfig
from tui_tuner.runs.events import EventBody, RowLedger
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.wire import list_event_fields
from tui_tuner.tasks import Task
from tui_tuner.training.keeping.checkpoints import Checkpoint
from tui_tuner.training.keeping.progress import Progress
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.run_commands import Commands
from tui_tuner.training.watching.reporting import Reporter

LEDGER = "ledger.json"
LEARNED = "learned.json"
TOKENIZER = "tokenizer"  # the run's own, where it is not that of its model


@dataclass
class RunContext:
    """The config, folder, journal and counters of one run, from its first second to its last.

    Args:
        asked: The config as requested, with its `auto`.
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

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the run folder, in the main process only."""
        if self.ranks.is_main:
            self.folder.write_file(name, text)

    def emit(self, body: EventBody) -> None:
        """Write an event to the journal; a row ledger goes to the run folder too."""
        if isinstance(body, RowLedger):
            # The model card reads the ledger from this file, without going through the journal.
            self.write_text(LEDGER, json.dumps(list_event_fields(body), indent=1))
        self.reporter.emit(body)
