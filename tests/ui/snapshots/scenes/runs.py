"""Run folders for scenes, their journals written second by second on the clock of the stage."""

from __future__ import annotations

from typing import Any

from tests.ui import fakes
from tests.ui.snapshots.stage import BEGAN, Stage
from tests.ui.verdicts.runs import NOTHING
from tui_tuner.runs.events import CheckpointSaved, Phase, Verdict
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunFolder

STEP_SECONDS = 0.5


def made(stage: Stage, name: str, ago: float = 3600.0, **sections: Any) -> RunFolder:
    """A run folder that was made so many seconds ago; the clock stands at that moment."""
    stage.clock.now = BEGAN - ago
    return fakes.make_run(stage.store, name, **sections)


def written(
    stage: Stage,
    name: str,
    steps: int,
    total: int,
    status: str = "",
    verdict: Verdict | None = None,
    **more: Any,
) -> RunFolder:
    """A run with `steps` of `total` steps behind it, ended if a status is given, with a verdict or none."""
    folder = made(stage, name, **more)
    journal = JournalWriter(folder.events_path, folder.name)
    fakes.begin(journal, total)
    fakes.samples(journal, 0, "before")
    stage.clock.now += 4
    fakes.evaluation(journal, 0, attribute_coverage=0.12, stopped=0.0)
    journal.emit(Phase(name="training", done=0, total=total))
    for number in range(1, steps + 1):
        stage.clock.now += STEP_SECONDS
        fakes.step(journal, number, total)
        if number % 20 == 0:
            stage.clock.now += 1
            fakes.evaluation(journal, number, attribute_coverage=0.3 + number / 200, stopped=0.5)
            journal.emit(CheckpointSaved(number, f"checkpoints/step-{number}", True, 1_500_000, 0.1))
            journal.emit(Phase(name="training", done=number, total=total))
    if status:
        fakes.samples(journal, steps, "after")
        stage.clock.now += 5
        fakes.evaluation(journal, steps, attribute_coverage=0.91, stopped=1.0)
        if verdict is not None:
            journal.emit(verdict)
        codes = {"completed": 0, "stopped": 130}
        fakes.finish(journal, status, codes.get(status, 1), "" if status == "completed" else status)
    journal.close()
    fakes.claim_dead(folder)
    return folder


def three_runs(stage: Stage) -> list[RunFolder]:
    """One that is done, one that was stopped, one whose process is gone; now is an hour later."""
    found = [
        written(stage, "red-coats", 100, 100, "completed", ago=90_000.0, verdict=NOTHING),
        written(stage, "red-coats-rank-32", 60, 100, "stopped", ago=7_200.0),
        written(stage, "lamps", 30, 400, ago=3_900.0),
    ]
    stage.clock.now = BEGAN
    return found
