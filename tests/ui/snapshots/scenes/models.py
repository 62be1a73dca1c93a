"""Models: the list of them, what is known of one, fetching, logging in. This machine is offline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot
from textual.screen import Screen

from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.stage import Stage, shows
from tui_tuner.errors import HubError
from tui_tuner.models.hub.kinds import HUGGINGFACE

Shown = AsyncIterator[Pilot[Any]]


def _row(**more: Any) -> Any:
    from tui_tuner.ui.base_models.rows import HUB, Row

    return Row("acme/shop-writer-0.5b", HUB, HUGGINGFACE, 500_000_000, 1_000_000_000, licence="mit", **more)


@asynccontextmanager
async def _asked(stage: Stage, dialog: Screen[Any], *words: str) -> Shown:
    """A question above the home screen."""
    async with stage.app() as pilot:
        await shows(pilot, "new run")
        pilot.app.push_screen(dialog)
        await shows(pilot, *words)
        yield pilot


@scene("ModelsScreen")
async def models_offline(stage: Stage) -> Shown:
    async with stage.app() as pilot:
        pilot.app.card = "T4"  # type: ignore[attr-defined]
        await shows(pilot, "new run")
        await pilot.press("m")
        await shows(pilot, "SmolLM2", "GiB")
        yield pilot


@scene("AboutModel")
async def model_known(stage: Stage) -> Shown:
    async with stage.app() as pilot:
        pilot.app.card = "T4"  # type: ignore[attr-defined]
        await shows(pilot, "new run")
        await pilot.press("m")
        await shows(pilot, "SmolLM2", "GiB")
        await pilot.press("down", "i")
        await shows(pilot, "─ A model ")
        yield pilot


@scene("FetchDialog")
async def fetch_asked(stage: Stage) -> Shown:
    from tui_tuner.ui.screens.models.dialogs import FetchDialog

    async with _asked(stage, FetchDialog(_row(), None), "Not now", "✗") as pilot:
        yield pilot


@scene("FailedDialog")
async def fetch_failed(stage: Stage) -> Shown:
    from tui_tuner.ui.screens.models.dialogs import FailedDialog

    error = HubError("the hub has sent nothing for 30 seconds.", hint="Try again: what has come stays.")
    async with _asked(stage, FailedDialog(_row(), error), "Try again") as pilot:
        yield pilot


@scene("CodeDialog")
async def code_asked(stage: Stage) -> Shown:
    from tui_tuner.ui.base_models.told import Told
    from tui_tuner.ui.screens.models.dialogs import CodeDialog

    async with _asked(stage, CodeDialog(_row(), Told(remote_code=True)), "rights") as pilot:
        yield pilot


@scene("LoginDialog")
async def login_asked(stage: Stage) -> Shown:
    from tui_tuner.ui.screens.models.login import LoginDialog

    async with _asked(stage, LoginDialog(HUGGINGFACE), "Log out") as pilot:
        yield pilot


@scene("ChooseFile")
async def file_chosen(stage: Stage) -> Shown:
    from tui_tuner.ui.screens.choosing import ChooseFile

    stage.write("shop-texts.jsonl", [{"prompt": "a", "response": "b"}])
    stage.write("pairs.jsonl", [{"prompt": "a"}])
    (stage.folder / "more").mkdir()
    async with _asked(stage, ChooseFile("Open data", suffixes=(".jsonl",)), "shop-texts.jsonl") as pilot:
        yield pilot
