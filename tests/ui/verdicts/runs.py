"""Journals of runs with a verdict, written as a run writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.ui import fakes
from tui_tuner.runs.events import CheckpointSaved, Evaluation, HeldOutRows, Step, Verdict
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunFolder, RunStore

ROWS = 64
RATE = {"words": "Take a lower learning rate.", "values": {"training.learning_rate": 2e-4}}
STEPS = {"words": "Stop at the best step.", "values": {"training.max_steps": 40}}
MORE_ROWS = {"words": "Gather more rows.", "values": {}}
NOTHING = Verdict(
    100,
    "nothing_learnt",
    None,
    0.985,
    ["Held-out rows have the loss of the start: 3.65 before, 3.64 at step 100."],
    [RATE],
    True,
)
OVERFIT = Verdict(
    60,
    "overfit",
    40,
    0.91,
    ["Held-out loss rose from 1.62 at step 40 to 1.95 at step 60, while that of training fell."],
    [STEPS, {"words": "Train fewer weights.", "values": {"method.rank": 4}}, MORE_ROWS],
)
GOOD = Verdict(100, "good", None, 0.99, ["Held-out loss fell from 3.65 to 1.49."], [], True)


def rows_at(step: int, loss: float, count: int = ROWS) -> HeldOutRows:
    """Held-out rows around a loss, each with its own place."""
    losses = [loss + 0.3 * math.sin(7 * row) + 0.04 * math.sin(13 * row + step) for row in range(count)]
    return HeldOutRows(step, losses, [10 + row % 5 for row in range(count)])


def begun(
    store: RunStore, name: str, losses: Mapping[int, float], rows: int = ROWS, **sections: Any
) -> tuple[RunFolder, JournalWriter]:
    """A run that was evaluated at these steps; its journal is open."""
    folder = fakes.make_run(store, name, **sections)
    journal = JournalWriter(folder.events_path, folder.name)
    fakes.begin(journal, 100)
    done, best = 0, math.inf
    for step, loss in losses.items():
        for number in range(done + 1, step + 1):
            trained = max(0.05, 3.4 - number / 25)
            journal.emit(Step(number, number / 50, trained, 2e-4, 0.8, 512, 1024, 4100.0, 0, 0, 0.1))
        done = step
        journal.emit(Evaluation(step, "validation", {"loss": loss, "perplexity": math.exp(loss)}))
        if rows:
            journal.emit(rows_at(step, loss, rows))
        if step and loss < best:
            best = loss
            journal.emit(CheckpointSaved(step, f"checkpoints/step-{step}", True, 1_500_000, 0.1))
    return folder, journal


def judged(
    store: RunStore,
    name: str,
    verdict: Verdict | None,
    losses: Mapping[int, float],
    status: str = "completed",
    rows: int = ROWS,
    **sections: Any,
) -> RunFolder:
    """A run that has ended with a verdict, or, as those of older versions, without."""
    folder, journal = begun(store, name, losses, rows, **sections)
    if verdict is not None:
        journal.emit(verdict)
    fakes.finish(journal, status)
    journal.close()
    folder.best_path.mkdir()
    folder.last_path.mkdir()
    return folder


def nothing_learnt(store: RunStore, name: str = "shuffled") -> RunFolder:
    """Completed, and of no use."""
    return judged(store, name, NOTHING, {0: 3.65, 50: 3.66, 100: 3.64}, training={"learning_rate": 0.05})


def overfitted(store: RunStore, name: str = "coats") -> RunFolder:
    """Completed after its best step, with two ways to change it and one that no setting does."""
    losses = {0: 3.65, 20: 2.0, 40: 1.62, 60: 1.95, 100: 2.6}
    return judged(store, name, replace(OVERFIT, step=100, final=True), losses)
