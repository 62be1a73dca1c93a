"""A model that is used on a file: the first rows, as the helper process reads them without a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.scenes.runs import written
from tests.ui.snapshots.stage import BEGAN, Stage, shows
from tui_tuner.exporting.kinds import TARGETS
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.look import preview_prediction_job
from tui_tuner.ui.screens.exporting.export_screen import ExportScreen, TargetsLooked
from tui_tuner.ui.screens.exporting.export_words import describe_export, render_outcome
from tui_tuner.ui.screens.using.helper_jobs import JobState
from tui_tuner.ui.screens.using.predict_screen import FirstRowsRead, PredictScreen
from tui_tuner.ui.widgets.judged.fitted_text import Fitted

Shown = AsyncIterator[Pilot[Any]]


@scene("PredictScreen")
async def use_on_a_file(stage: Stage) -> Shown:
    folder = written(stage, "red-coats", 100, 100, "completed", ago=4000.0)
    shutil.copy(folder.path / "config.yaml", folder.path / "config.resolved.yaml")
    stage.clock.now = BEGAN
    rows = [{"id": n, "question": f"item: {name} | colour: red"} for n, name in enumerate(("coat", "lamp"))]
    (stage.folder / "shop.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    origin = Origin("run", folder.name, str(folder.path.absolute()), "best")
    async with stage.app() as pilot:
        screen = PredictScreen(origin)
        pilot.app.push_screen(screen)
        await shows(pilot, "Choose a file")
        screen.query_one("#path", Input).value = "shop.jsonl"
        screen.query_one("#out", Input).value = "shop.predictions.jsonl"
        found = preview_prediction_job(
            Job(origin, str(stage.folder / "shop.jsonl"), "shop.predictions.jsonl")
        )
        screen.post_message(FirstRowsRead(0, found, ""))
        screen.set_focus(screen.query_one("#below"))
        await shows(pilot, "prompt ← question", "Press ^r to start")
        yield pilot


@scene("ExportScreen")
async def export_of_a_run(stage: Stage) -> Shown:
    folder = written(stage, "red-coats", 100, 100, "completed", ago=4000.0)
    stage.clock.now = BEGAN
    origin = Origin("run", folder.name, str(folder.path.absolute()), "best")
    report = {
        "checked": True, "program": "transformers 5.0", "token_differences": 0, "greedy_equal_answers": 8,
        "greedy_answers": 8, "largest_logit_difference": 3.1e-5, "top_1_agreement": 1.0, "mean_kl": 2e-9,
        "prompts": [{"text": "Describe the coat, it is red.", "greedy_equal": True}],
    }  # fmt: skip
    found = {"folder": "red-coats-merged", "bytes": 3 << 20, "seconds": 12.0, "parity": report}
    looks = {
        name: {"bytes": (9 - place) << 20, "notes": [], "problem": ""} for place, name in enumerate(TARGETS)
    }
    async with stage.app() as pilot:
        screen = ExportScreen(origin)
        # The helper process is not asked: what it finds is said here
        screen._look_at_targets = lambda: None  # type: ignore[method-assign]
        pilot.app.push_screen(screen)
        await shows(pilot, "Looking at what it would take")
        screen.post_message(TargetsLooked(looks))
        await shows(pilot, "9.0 MiB")
        screen._show_status(*describe_export(JobState(found=found, on=False)))
        screen.query_one("#outcome", Fitted).show_drawn(
            partial(render_outcome, JobState(found=found, on=False))
        )
        await shows(pilot, "8 of 8 greedy answers equal")
        yield pilot
