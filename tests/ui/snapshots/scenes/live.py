"""Runs: the live pane in its states, the questions it asks, and what a run has brought."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from tests.ui import fakes, judged_runs
from tests.ui.conftest import until
from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.scenes.runs import made, written
from tests.ui.snapshots.stage import BEGAN, Stage, shows
from tests.ui.verdicts import runs as verdict_runs
from tests.ui.verdicts.runs import GOOD
from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.errors import DataError
from tui_tuner.locales import N_
from tui_tuner.runs.events import Finished, Log, Phase
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.store import RunFolder

Shown = AsyncIterator[Pilot[Any]]


def on_now(stage: Stage, steps: int = 60) -> RunFolder:
    """A run that goes on: the clock stands two seconds after its last step."""
    folder = written(stage, "red-coats", steps, 100, ago=120.0)
    stage.clock.now += 2
    return folder


async def measured(pilot: Pilot[Any], *words: str) -> None:
    """Wait until the pane of a run that is on shows these words, and the load of the machine."""
    await shows(pilot, *words)
    await until(pilot, lambda: pilot.app.screen._load is not None)  # type: ignore[attr-defined]


@scene("RunScreen")
async def run_on(stage: Stage) -> Shown:
    async with stage.app(open_run=on_now(stage), train=True) as pilot:
        await measured(pilot, "● running", "60")
        yield pilot


@scene("RunScreen")
async def run_paused(stage: Stage) -> Shown:
    folder = on_now(stage)
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(Phase(name="paused", done=60, total=100))
    journal.close()
    async with stage.app(open_run=folder, train=True) as pilot:
        await measured(pilot, "‖ paused")
        yield pilot


@scene("RunScreen")
async def run_loading(stage: Stage) -> Shown:
    folder = made(stage, "red-coats", ago=60.0)
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(Phase(name="loading", note="importing torch and transformers"))
    journal.close()
    stage.clock.now += 3
    async with stage.app(open_run=folder, train=True) as pilot:
        await measured(pilot, "loading")
        yield pilot


@scene("RunScreen")
async def run_done(stage: Stage) -> Shown:
    folder = written(stage, "red-coats", 100, 100, "completed")
    stage.clock.now = BEGAN
    async with stage.app(open_run=folder) as pilot:
        await shows(pilot, "✓ completed")
        yield pilot


@scene("RunScreen")
async def run_answers(stage: Stage) -> Shown:
    folder = written(stage, "red-coats", 100, 100, "completed")
    stage.clock.now = BEGAN
    async with stage.app(open_run=folder) as pilot:
        await shows(pilot, "✓ completed")
        await pilot.press("a")
        await shows(pilot, "wool")
        yield pilot


@scene("RunScreen")
async def run_choices(stage: Stage) -> Shown:
    folder = written(stage, "red-coats", 100, 100, "completed")
    stage.clock.now = BEGAN
    async with stage.app(open_run=folder) as pilot:
        await shows(pilot, "✓ completed")
        await pilot.press("c")
        await shows(pilot, "learning_rate")
        yield pilot


@scene("RunScreen")
async def run_not_begun(stage: Stage) -> Shown:
    """What is wrong, and the key to where it can be changed."""
    folder = made(stage, "half", data={"path": "demo", "max_length": 99})
    hint = build_hint(N_("Accept it with {command}.", command=write_setting({"data.max_dropped": 0.5})))
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(Phase(name="loading", note="importing torch and transformers"))
    journal.emit(
        Finished.from_error(
            DataError(
                "60 of 100 rows are longer than 99 tokens and would be dropped.",
                where="shop-texts.jsonl:2",
                hint=hint,
                field="data.max_dropped",
            )
        )
    )
    journal.close()
    fakes.claim_dead(folder)
    stage.clock.now = BEGAN
    async with stage.app(open_run=folder) as pilot:
        await shows(pilot, "The run did not start")
        yield pilot


@scene("RunScreen")
async def run_failed(stage: Stage) -> Shown:
    """After steps: the log says what it was."""
    folder = written(stage, "red-coats", 40, 100)
    journal = JournalWriter(folder.events_path, folder.name)
    journal.emit(Log("the device ran out of memory at step 41", level="error"))
    fakes.finish(journal, "failed", 1, "The device ran out of memory, and no smaller micro-batch is left.")
    journal.close()
    stage.clock.now = BEGAN
    async with stage.app(open_run=folder) as pilot:
        await shows(pilot, "✗ failed")
        yield pilot


@scene("ConfirmDialog")
async def stop_asked(stage: Stage) -> Shown:
    async with stage.app(open_run=on_now(stage), train=True) as pilot:
        await measured(pilot, "● running")
        await pilot.press("x")
        await shows(pilot, "Stop this run?")
        yield pilot


@scene("ConfirmDialog")
async def detach_asked(stage: Stage) -> Shown:
    async with stage.app(open_run=on_now(stage), train=True) as pilot:
        await measured(pilot, "● running")
        await pilot.press("d")
        await shows(pilot, "tui-tuner attach")
        yield pilot


@scene("QuitDialog")
async def quit_asked(stage: Stage) -> Shown:
    async with stage.app(open_run=on_now(stage), train=True) as pilot:
        await measured(pilot, "● running")
        await pilot.press("q")
        await shows(pilot, "background")
        yield pilot


@scene("ResultsScreen")
async def results_of_answers(stage: Stage) -> Shown:
    folder = written(stage, "red-coats", 100, 100, "completed", verdict=GOOD)
    folder.best_path.mkdir()
    folder.last_path.mkdir()
    (folder.best_path / "adapter_config.json").write_text("{}")
    stage.clock.now = BEGAN
    async with stage.app(open_run=folder) as pilot:
        await shows(pilot, "✓ completed")
        await pilot.press("v")
        await shows(pilot, "Measured")
        yield pilot


@scene("ResultsScreen")
async def results_of_no_use(stage: Stage) -> Shown:
    """Completed, and nothing learnt: said in words, with what to change."""
    with stage.clock.running(ago=3600):
        folder = verdict_runs.nothing_learnt(stage.store)
    fakes.claim_dead(folder)
    async with stage.app(open_run=folder) as pilot:
        await shows(pilot, "! completed · nothing learnt")
        await pilot.press("v")
        await shows(pilot, "What to change")
        yield pilot


@scene("RunScreen")
async def run_that_overfits(stage: Stage) -> Shown:
    with stage.clock.running(ago=20):
        folder, journal = verdict_runs.begun(stage.store, "coats", {0: 3.65, 20: 2.0, 40: 1.62, 60: 1.95})
        journal.emit(verdict_runs.OVERFIT)
        journal.close()
    async with stage.app(open_run=folder, train=True) as pilot:
        await measured(pilot, "● running", "stop here")
        yield pilot


@scene("ChoiceDialog")
async def what_to_change(stage: Stage) -> Shown:
    """Of several pieces of advice, one is chosen."""
    with stage.clock.running(ago=3600):
        folder = verdict_runs.overfitted(stage.store)
    fakes.claim_dead(folder)
    async with stage.app(open_run=folder) as pilot:
        await shows(pilot, "~ completed · overfitting")
        await pilot.press("f4")
        await shows(pilot, "Train fewer weights.")
        yield pilot


@asynccontextmanager
async def _judged(stage: Stage, folder: RunFolder) -> Shown:
    fakes.claim_dead(folder)
    async with stage.app(open_run=folder) as pilot:
        await shows(pilot, "✓ completed")
        await pilot.press("v")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "ResultsScreen")
        yield pilot


@scene("ResultsScreen")
async def results_of_classes(stage: Stage) -> Shown:
    with stage.clock.running(ago=3600):
        folder = judged_runs.classified(stage.store, "news")
    async with _judged(stage, folder) as pilot:
        yield pilot


@scene("ResultsScreen")
async def results_of_tags(stage: Stage) -> Shown:
    with stage.clock.running(ago=3600):
        folder = judged_runs.tagged(stage.store, "names")
    async with _judged(stage, folder) as pilot:
        yield pilot


@scene("ResultsScreen")
async def results_of_questions(stage: Stage) -> Shown:
    with stage.clock.running(ago=3600):
        folder = judged_runs.answered(stage.store, "football")
    async with _judged(stage, folder) as pilot:
        yield pilot


@scene("AskScreen")
async def ask_a_model(stage: Stage) -> Shown:
    with stage.clock.running(ago=3600):
        folder = judged_runs.answered(stage.store, "football")
    async with _judged(stage, folder) as pilot:
        await pilot.press("a")
        await shows(pilot, "Press F5 to ask")
        yield pilot
