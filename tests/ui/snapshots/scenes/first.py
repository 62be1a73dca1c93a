"""What one sees first: home, help, the palette, and questions above them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from textual.pilot import Pilot

from tests.ui.conftest import text, until
from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.scenes.runs import three_runs
from tests.ui.snapshots.stage import Stage

Shown = AsyncIterator[Pilot[Any]]


@scene("HomeScreen")
async def home_without_runs(stage: Stage) -> Shown:
    async with stage.app() as pilot:
        await until(pilot, lambda: "No runs yet." in text(pilot) and "new run" in text(pilot))
        yield pilot


@scene("HomeScreen")
async def home_with_runs(stage: Stage) -> Shown:
    three_runs(stage)
    async with stage.app() as pilot:
        await until(pilot, lambda: "lamps" in text(pilot) and "new run" in text(pilot))
        yield pilot


@scene("HelpScreen")
async def help_at_home(stage: Stage) -> Shown:
    async with stage.app() as pilot:
        await until(pilot, lambda: "No runs yet." in text(pilot))
        await pilot.press("question_mark")
        await until(pilot, lambda: "Everywhere" in text(pilot))
        yield pilot


@scene("CommandPalette")
async def palette_at_home(stage: Stage) -> Shown:
    async with stage.app() as pilot:
        await until(pilot, lambda: "No runs yet." in text(pilot))
        await pilot.press("ctrl+p")
        await until(pilot, lambda: "Light or dark" in text(pilot))
        yield pilot


@scene("RunsScreen")
async def all_runs(stage: Stage) -> Shown:
    three_runs(stage)
    async with stage.app() as pilot:
        await until(pilot, lambda: "lamps" in text(pilot))
        await pilot.press("r")
        await until(pilot, lambda: "3 runs" in text(pilot))
        yield pilot
