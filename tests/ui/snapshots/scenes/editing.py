"""The settings as YAML, in the editor that needs no other program, and what is wrong with a text."""

from __future__ import annotations

from textual.widgets import TextArea

from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.scenes.forms import Shown, settings
from tests.ui.snapshots.stage import Stage, shows


@scene("YamlEditor")
async def yaml_editor(stage: Stage) -> Shown:
    async with settings(stage, method={"rank": 8}) as pilot:
        await pilot.press("ctrl+e")
        await shows(pilot, "All settings of the form")
        yield pilot


@scene("MistakesDialog")
async def yaml_mistakes(stage: Stage) -> Shown:
    async with settings(stage) as pilot:
        await pilot.press("ctrl+e")
        await shows(pilot, "model:")
        pilot.app.screen.query_one(TextArea).text = "method:\n  rank: many\ntrainig:\n  epochs: 3\n"
        await pilot.press("ctrl+e")
        await shows(pilot, "2 mistakes")
        yield pilot
