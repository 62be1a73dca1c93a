"""Models to begin with, over a hub that a local server plays."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.hub_server import PlayedHub
from tests.ui.conftest import text, until
from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.stage import GIB, Stage
from tui_tuner.models.catalog import find_catalog_config
from tui_tuner.ui.widgets.models.model_list import ModelList

Shown = AsyncIterator[Pilot[Any]]
_Usage = namedtuple("_Usage", "total used free")


@asynccontextmanager
async def found(stage: Stage, name: str) -> AsyncIterator[Pilot[Any]]:
    """Some models of a hub, with the cursor on one of them."""
    with PlayedHub() as hub, pytest.MonkeyPatch.context() as monkeypatch:
        hub.in_this_process(monkeypatch, stage.folder / "home")
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: _Usage(90 * GIB, 50 * GIB, 40 * GIB))
        stage.replaced[f"127.0.0.1:{hub.port}"] = "127.0.0.1:40000"
        hub.add_demo("acme/tiny-chat", downloads=5000)
        hub.add_demo("acme/gated-chat", gated=True, downloads=4000)
        hub.add_demo("acme/with-code", {"modeling_acme.py": b"pass"}, downloads=3000)
        shape = json.dumps(find_catalog_config("meta-llama/Llama-3.1-405B")).encode()
        files = {"config.json": shape, "model.safetensors": b"\0" * 99}
        hub.add("acme/huge", files, parameters=405_853_388_800, downloads=2000)
        async with stage.app() as pilot:
            await pilot.press("m")
            await until(pilot, lambda: "● demo" in text(pilot))
            await pilot.press(*"acme")
            models = pilot.app.screen.query_one(ModelList)
            await until(pilot, lambda: len(models.rows) == 4 and "found 4 models" in text(pilot), 60)
            await until(pilot, lambda: "✗ 1,8" in text(pilot) and text(pilot).count("✓ ") >= 2, 60)
            await pilot.press("down")
            while models.chosen_row.name != name:
                await pilot.press("down")
            told = "Gated:" if name == "acme/gated-chat" else "llama ·"
            await until(pilot, lambda: told in text(pilot), 60)
            yield pilot


@scene("ModelsScreen")
async def models_found(stage: Stage) -> Shown:
    async with found(stage, "acme/huge") as pilot:
        yield pilot


@scene("ModelDetails")
async def models_more(stage: Stage) -> Shown:
    async with found(stage, "acme/tiny-chat") as pilot:
        await pilot.press("i")
        await until(pilot, lambda: "Its page" in text(pilot))
        yield pilot


@scene("FetchDialog")
async def models_fetch(stage: Stage) -> Shown:
    async with found(stage, "acme/tiny-chat") as pilot:
        await pilot.press("f")
        await until(pilot, lambda: "afterwards" in text(pilot))
        yield pilot


@scene("FailedDialog")
async def models_failed(stage: Stage) -> Shown:
    async with found(stage, "acme/gated-chat") as pilot:
        await pilot.press("f")
        await until(pilot, lambda: "afterwards" in text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "Download failed" in text(pilot))
        await pilot.press("f")
        await until(pilot, lambda: "Try again" in text(pilot))
        yield pilot


@scene("CodeDialog")
async def models_code(stage: Stage) -> Shown:
    async with found(stage, "acme/with-code") as pilot:
        await until(pilot, lambda: "its own Python code" in text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "Code of a model" in text(pilot))
        yield pilot


@scene("LoginDialog")
async def models_login(stage: Stage) -> Shown:
    async with found(stage, "acme/gated-chat") as pilot:
        await pilot.press("l")
        await until(pilot, lambda: "Not logged in" in text(pilot))
        yield pilot
