"""A model that is used on a file: the first rows, as the helper process reads them without a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.scenes.runs import written
from tests.ui.snapshots.stage import BEGAN, Stage, shows
from tui_tuner.inference.origin import Origin
from tui_tuner.inference.predicting.job import Job
from tui_tuner.inference.predicting.look import preview_prediction_job
from tui_tuner.ui.screens.using.predict_screen import FirstRowsRead, PredictScreen

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
