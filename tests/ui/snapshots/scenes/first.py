"""What one sees first: home, help, the palette, and questions above them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from textual.pilot import Pilot

from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.scenes.runs import three_runs
from tests.ui.snapshots.stage import Stage, shows

Shown = AsyncIterator[Pilot[Any]]


@scene("HomeScreen")
async def home_without_runs(stage: Stage) -> Shown:
    async with stage.app() as pilot:
        await shows(pilot, "No runs yet.", "n New run")
        yield pilot


@scene("HomeScreen")
async def home_with_runs(stage: Stage) -> Shown:
    three_runs(stage)
    async with stage.app() as pilot:
        await shows(pilot, "lamps", "n New run")
        yield pilot


@scene("HelpScreen")
async def help_at_home(stage: Stage) -> Shown:
    async with stage.app() as pilot:
        await shows(pilot, "No runs yet.")
        await pilot.press("question_mark")
        await shows(pilot, "─ Help ")
        yield pilot


@scene("CommandPalette")
async def palette_at_home(stage: Stage) -> Shown:
    async with stage.app() as pilot:
        await shows(pilot, "No runs yet.")
        await pilot.press("ctrl+p")
        await shows(pilot, "Home")
        yield pilot


@scene("RunsScreen")
async def all_runs(stage: Stage) -> Shown:
    three_runs(stage)
    async with stage.app() as pilot:
        await shows(pilot, "lamps")
        await pilot.press("r")
        await shows(pilot, "3 runs")
        yield pilot
