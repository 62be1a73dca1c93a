"""Settings, the data they name, and the plan made of both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from tests.ui.conftest import text, until
from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.stage import Stage
from tui_tuner.ui.screens.plan import PlanScreen

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


async def settings(stage: Stage, words: str = "✓ ready", **config: Any) -> Shown:
    """The settings over a draft, planned for a known card."""
    async with stage.app(config=config) as pilot:
        pilot.app.card = "T4"  # type: ignore[attr-defined]
        pilot.app.open_settings()  # type: ignore[attr-defined]
        await until(pilot, lambda: words in text(pilot), 20)
        yield pilot


@scene("SettingsScreen")
async def settings_model(stage: Stage) -> Shown:
    async for pilot in settings(stage):
        await until(pilot, lambda: "fits" in text(pilot), 20)
        yield pilot


@scene("SettingsScreen")
async def settings_method(stage: Stage) -> Shown:
    async for pilot in settings(stage, method={"kind": "lora", "rank": 32}):
        await until(pilot, lambda: "fits" in text(pilot), 20)
        await pilot.press("down", "down", "down", "enter", "down")
        await until(pilot, lambda: "method.rank" in text(pilot))
        yield pilot


@scene("SettingsScreen")
async def settings_wrong(stage: Stage) -> Shown:
    async for pilot in settings(stage, "✗ 1 problem", method={"rank": 0}):
        yield pilot


@scene("SettingsScreen")
async def settings_other_task(stage: Stage) -> Shown:
    """Data that the task cannot use."""
    stage.write("pairs.jsonl", PAIRS)
    async for pilot in settings(stage, "Data ✗1", data={"path": "pairs.jsonl"}):
        yield pilot


@scene("SettingsScreen")
async def settings_advanced(stage: Stage) -> Shown:
    async for pilot in settings(stage):
        await pilot.press("down", "down", "down", "down", "f2")
        await until(pilot, lambda: "optimizer" in text(pilot))
        yield pilot


@scene("Choose")
async def begin_again(stage: Stage) -> Shown:
    async for pilot in settings(stage):
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "lora-small" in text(pilot))
        yield pilot


@scene("AskPath")
async def save_settings(stage: Stage) -> Shown:
    async for pilot in settings(stage, method={"rank": 8}):
        await pilot.press("ctrl+s")
        await until(pilot, lambda: ".yaml" in text(pilot))
        yield pilot


@scene("Offers")
async def what_to_do(stage: Stage) -> Shown:
    stage.write("pairs.jsonl", PAIRS)
    async for pilot in settings(stage, "Data ✗1", data={"path": "pairs.jsonl"}):
        await pilot.press("f4")
        await until(pilot, lambda: "What to do" in text(pilot))
        yield pilot


# Data


async def data(stage: Stage, path: str, words: str, **config: Any) -> Shown:
    async with stage.app(config={**config, "data": {"path": path}}) as pilot:
        await pilot.press("d")
        await until(pilot, lambda: words in text(pilot), 30)
        yield pilot


@scene("DataScreen")
async def data_to_choose(stage: Stage) -> Shown:
    stage.write("shop-texts.jsonl", SHOP)
    stage.write("pairs.jsonl", PAIRS)
    (stage.folder / "more").mkdir()
    async with stage.app() as pilot:
        await pilot.press("d")
        await until(pilot, lambda: "shop-texts.jsonl" in text(pilot))
        yield pilot


@scene("DataScreen")
async def data_read(stage: Stage) -> Shown:
    path = stage.write("shop-texts.jsonl", SHOP)
    async for pilot in data(stage, path, "3 rows: 3 kept"):
        await until(pilot, lambda: "▸" in text(pilot), 60)
        yield pilot


@scene("DataScreen")
async def data_lengths(stage: Stage) -> Shown:
    path = stage.write("shop-texts.jsonl", SHOP)
    async for pilot in data(stage, path, "3 rows: 3 kept"):
        await until(pilot, lambda: "▸" in text(pilot), 60)
        await pilot.press("l")
        await until(pilot, lambda: "max_length" in text(pilot), 60)
        yield pilot


@scene("DataScreen")
async def data_broken_rows(stage: Stage) -> Shown:
    path = stage.write("shop-texts.jsonl", [*SHOP, "not json", {"instruction": "", "output": "x"}, {"a": 1}])
    async for pilot in data(stage, path, "6 rows"):
        yield pilot


@scene("DataScreen")
async def data_of_another_task(stage: Stage) -> Shown:
    async for pilot in data(stage, stage.write("pairs.jsonl", PAIRS), "2 rows"):
        yield pilot


@scene("ColumnsDialog")
async def columns_to_pick(stage: Stage) -> Shown:
    async for pilot in data(stage, stage.write("fragen.jsonl", GERMAN), "not recognised"):
        await pilot.press("c")
        await until(pilot, lambda: "Which column is what?" in text(pilot) and "antwort" in text(pilot))
        yield pilot


@scene("Formats")
async def formats_to_pick(stage: Stage) -> Shown:
    async for pilot in data(stage, stage.write("fragen.jsonl", GERMAN), "not recognised"):
        await pilot.press("f")
        await until(pilot, lambda: "Record format" in text(pilot))
        yield pilot


# Plan


async def plan(stage: Stage, page: str = "", **config: Any) -> Shown:
    async for pilot in settings(stage, **config):
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(pilot.app.screen, PlanScreen) and pilot.app.screen.look, 20)
        if page:
            await pilot.press(page)
        yield pilot


@scene("PlanScreen")
async def plan_memory(stage: Stage) -> Shown:
    async for pilot in plan(stage):
        yield pilot


@scene("PlanScreen")
async def plan_rates(stage: Stage) -> Shown:
    async for pilot in plan(stage, "2"):
        await until(pilot, lambda: "●" in text(pilot))
        yield pilot


@scene("PlanScreen")
async def plan_time(stage: Stage) -> Shown:
    async for pilot in plan(stage, "3", hardware={"price_per_hour": 1.5}):
        await until(pilot, lambda: "money" in text(pilot))
        yield pilot


@scene("PlanScreen")
async def plan_advice(stage: Stage) -> Shown:
    async for pilot in plan(stage, "4", training={"learning_rate": 0.5}):
        await until(pilot, lambda: "learning rate 0.5" in text(pilot))
        yield pilot


@scene("CardDialog")
async def cards_to_choose(stage: Stage) -> Shown:
    async for pilot in plan(stage):
        await pilot.press("c")
        await until(pilot, lambda: "wants" in text(pilot), 20)
        yield pilot


@scene("PlainScreen")
async def no_screen(stage: Stage) -> Shown:
    from tui_tuner.ui.guard.plain import PlainScreen

    async with stage.app() as pilot:
        log = Path(".config") / "faults.log"
        pilot.app.push_screen(PlainScreen(str(log)))
        await until(pilot, lambda: "cannot be shown" in text(pilot))
        yield pilot
