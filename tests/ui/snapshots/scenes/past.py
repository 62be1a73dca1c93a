"""Runs over one another, and what is asked in the list of runs."""

from __future__ import annotations

from tests.ui.conftest import text, until
from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.scenes.first import Shown
from tests.ui.snapshots.scenes.runs import three_runs
from tests.ui.snapshots.stage import Stage
from tui_tuner.runs.notes import change_run_tags, set_run_note


@scene("OverlayScreen")
async def runs_over_one_another(stage: Stage) -> Shown:
    three_runs(stage)
    async with stage.app() as pilot:
        await until(pilot, lambda: "lamps" in text(pilot))
        await pilot.press("r")
        await until(pilot, lambda: "newest first" in text(pilot))
        await pilot.press("o", "home", "space", "space", "c")
        await until(pilot, lambda: "Differences" in text(pilot) and "trained tokens" in text(pilot))
        yield pilot


@scene("TextDialog")
async def note_about_a_run(stage: Stage) -> Shown:
    runs = three_runs(stage)
    change_run_tags(runs[0], ["best", "wool"])
    set_run_note(runs[0], "the rate of the paper")
    async with stage.app() as pilot:
        await until(pilot, lambda: "lamps" in text(pilot))
        await pilot.press("r")
        await until(pilot, lambda: "#best" in text(pilot))
        await pilot.press("end", "n")
        await until(pilot, lambda: "the rate of the paper" in text(pilot) and "leave it empty" in text(pilot))
        yield pilot
