"""Settings, the data they name, and the plan made of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from tests.ui.conftest import until
from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.stage import Stage, shows
from tui_tuner.ui.screens.plan_screen import PlanScreen

Shown = AsyncIterator[Pilot[Any]]
LARGE = {"model": {"name": "mistralai/Mistral-7B-v0.1"}}
SHOP = [
    {"instruction": "Write a sentence about this item.", "input": "coat, red, wool", "output": "A red coat."},
    {"instruction": "Write a sentence about this item.", "input": "lamp, green", "output": "A green lamp."},
    {"instruction": "Name a fruit.", "input": "", "output": "A pear, ripe and sweet."},
]
PAIRS = [
    {"prompt": "Name a fruit.", "chosen": "A pear.", "rejected": "A stone."},
    {"prompt": "Say a colour.", "chosen": "Blue.", "rejected": "Seven."},
]
GERMAN = [
    {"frage": "Welche Farbe hat Gras?", "antwort": "Grün."},
    {"frage": "Und Schnee?", "antwort": "Weiß."},
]


@asynccontextmanager
async def settings(stage: Stage, words: str = "✓ ready", **config: Any) -> Shown:
    """The settings over a draft, planned for a known card."""
    async with stage.app(config=config) as pilot:
        pilot.app.card = "T4"  # type: ignore[attr-defined]
        pilot.app.open_settings()  # type: ignore[attr-defined]
        await shows(pilot, words)
        yield pilot


@scene("SettingsScreen")
async def settings_model(stage: Stage) -> Shown:
    async with settings(stage) as pilot:
        await shows(pilot, "fits")
        yield pilot


@scene("SettingsScreen")
async def settings_method(stage: Stage) -> Shown:
    async with settings(stage, method={"kind": "lora", "rank": 32}) as pilot:
        await shows(pilot, "fits")
        await pilot.press("down", "down", "down", "enter", "down")
        await shows(pilot, "method.rank")
        yield pilot


@scene("SettingsScreen")
async def settings_method_told(stage: Stage) -> Shown:
    """What a method is and trains, while its section is looked at."""
    async with settings(stage, method={"kind": "vera", "rank": 256}) as pilot:
        await shows(pilot, "fits")
        await pilot.press("down", "down", "down")
        await shows(pilot, "trains", "saves", "Usual values")
        yield pilot


@scene("MethodTableScreen")
async def methods_compared(stage: Stage) -> Shown:
    async with settings(stage) as pilot:
        await pilot.press("f7")
        await shows(pilot, "usual first")
        yield pilot


@scene("MethodTableScreen")
async def methods_by_file(stage: Stage) -> Shown:
    """Sorted by the size of what is saved, with the cursor on a method that lacks something."""
    async with settings(stage) as pilot:
        await pilot.press("f7")
        await shows(pilot, "usual first")
        await pilot.press("s", "s", "s", "s", "end")
        await shows(pilot, "smallest file", "method.adapters")
        yield pilot


@scene("SettingsScreen")
async def settings_wrong(stage: Stage) -> Shown:
    async with settings(stage, "✗ 1 problem", method={"rank": 0}) as pilot:
        yield pilot


@scene("SettingsScreen")
async def settings_other_task(stage: Stage) -> Shown:
    """Data that the task cannot use."""
    stage.write("pairs.jsonl", PAIRS)
    async with settings(stage, "Data ✗1", data={"path": "pairs.jsonl"}) as pilot:
        yield pilot


@scene("SettingsScreen")
async def settings_advanced(stage: Stage) -> Shown:
    async with settings(stage) as pilot:
        await pilot.press("down", "down", "down", "down", "f2")
        await shows(pilot, "optimizer")
        yield pilot


@scene("ChoiceDialog")
async def begin_again(stage: Stage) -> Shown:
    async with settings(stage) as pilot:
        await pilot.press("ctrl+o")
        await shows(pilot, "─ Open ")
        yield pilot


@scene("PathDialog")
async def save_settings(stage: Stage) -> Shown:
    async with settings(stage, method={"rank": 8}) as pilot:
        await pilot.press("ctrl+s")
        await shows(pilot, ".yaml")
        yield pilot


@scene("FixesDialog")
async def what_to_do(stage: Stage) -> Shown:
    stage.write("pairs.jsonl", PAIRS)
    async with settings(stage, "Data ✗1", data={"path": "pairs.jsonl"}) as pilot:
        await pilot.press("f4")
        await shows(pilot, "What to do")
        yield pilot


# Data


@asynccontextmanager
async def data(stage: Stage, path: str, words: str, **config: Any) -> Shown:
    async with stage.app(config={**config, "data": {"path": path}}) as pilot:
        await pilot.press("d")
        await shows(pilot, words)
        yield pilot


@scene("DataScreen")
async def data_to_choose(stage: Stage) -> Shown:
    stage.write("shop-texts.jsonl", SHOP)
    stage.write("pairs.jsonl", PAIRS)
    (stage.folder / "more").mkdir()
    async with stage.app() as pilot:
        await pilot.press("d")
        await shows(pilot, "shop-texts.jsonl")
        yield pilot


@scene("DataScreen")
async def data_read(stage: Stage) -> Shown:
    path = stage.write("shop-texts.jsonl", SHOP)
    async with data(stage, path, "3 rows: 3 kept") as pilot:
        await shows(pilot, "▸")
        yield pilot


@scene("DataScreen")
async def data_lengths(stage: Stage) -> Shown:
    path = stage.write("shop-texts.jsonl", SHOP)
    async with data(stage, path, "3 rows: 3 kept") as pilot:
        await shows(pilot, "▸")
        await pilot.press("l")
        await shows(pilot, "max_length")
        yield pilot


@scene("DataScreen")
async def data_broken_rows(stage: Stage) -> Shown:
    path = stage.write("shop-texts.jsonl", [*SHOP, "not json", {"instruction": "", "output": "x"}, {"a": 1}])
    async with data(stage, path, "6 rows") as pilot:
        yield pilot


@scene("DataScreen")
async def data_of_another_task(stage: Stage) -> Shown:
    async with data(stage, stage.write("pairs.jsonl", PAIRS), "2 rows") as pilot:
        yield pilot


@scene("ColumnsDialog")
async def columns_to_pick(stage: Stage) -> Shown:
    async with data(stage, stage.write("fragen.jsonl", GERMAN), "not recognised") as pilot:
        await pilot.press("c")
        await shows(pilot, "Assign the columns", "antwort")
        yield pilot


@scene("FormatDialog")
async def formats_to_pick(stage: Stage) -> Shown:
    async with data(stage, stage.write("fragen.jsonl", GERMAN), "not recognised") as pilot:
        await pilot.press("f")
        await shows(pilot, "Record format")
        yield pilot


# Plan


@asynccontextmanager
async def plan(stage: Stage, page: str = "", **config: Any) -> Shown:
    async with settings(stage, **config) as pilot:
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(pilot.app.screen, PlanScreen) and pilot.app.screen.look, 60)
        if page:
            await pilot.press(page)
        yield pilot


@scene("PlanScreen")
async def plan_memory(stage: Stage) -> Shown:
    async with plan(stage) as pilot:
        yield pilot


@scene("PlanScreen")
async def plan_rates(stage: Stage) -> Shown:
    async with plan(stage, "2") as pilot:
        await shows(pilot, "●")
        yield pilot


@scene("PlanScreen")
async def plan_time(stage: Stage) -> Shown:
    async with plan(stage, "3", hardware={"price_per_hour": 1.5}) as pilot:
        await shows(pilot, "money")
        yield pilot


@scene("PlanScreen")
async def plan_advice(stage: Stage) -> Shown:
    async with plan(stage, "4", training={"learning_rate": 0.5}) as pilot:
        await shows(pilot, "learning rate 0.5")
        yield pilot


@scene("CardDialog")
async def cards_to_choose(stage: Stage) -> Shown:
    async with plan(stage) as pilot:
        await pilot.press("c")
        await shows(pilot, "✓ needs")
        yield pilot


@scene("PlainScreen")
async def no_screen(stage: Stage) -> Shown:
    from tui_tuner.ui.guard.plain_screen import PlainScreen

    async with stage.app() as pilot:
        log = Path(".config") / "faults.log"
        pilot.app.push_screen(PlainScreen(str(log)))
        await shows(pilot, "cannot be shown")
        yield pilot
