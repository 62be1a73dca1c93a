"""The five questions of the guide, and the page that follows from them."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.ui.conftest import text, until
from tests.ui.guide.rows import chats, labelled
from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.stage import Stage
from tui_tuner.guiding.guide_answers import Answers
from tui_tuner.planning.hardware import Hardware
from tui_tuner.ui.screens.guide.guide_walk import Walk

Shown = AsyncIterator[Pilot[Any]]


@contextlib.contextmanager
def _one_machine() -> Iterator[None]:
    """What the guide asks of the machine has a fixed answer."""
    from tui_tuner.guiding import machine
    from tui_tuner.guiding.models import fitting

    here = Hardware(cpu="A processor", memory_gib=32.0, available_gib=24.0, cores=8)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(machine, "_seen", None)
        monkeypatch.setattr(machine, "detect_hardware", lambda: here)
        monkeypatch.setattr(fitting, "measure_processor_speed", lambda: 2e11)
        monkeypatch.setattr(fitting, "_kept", {})
        yield
    machine._seen = None


@asynccontextmanager
async def _asked(stage: Stage, question: str, *words: str) -> AsyncIterator[Pilot[Any]]:
    """A question of the guide, or its page, in a folder with two files; those before it are answered."""
    name = "guide_page" if question == "page" else f"{question}_question"
    module = importlib.import_module(f"tui_tuner.ui.screens.guide.{name}")
    screens = {"goal": "GoalQuestion", "data": "DataQuestion", "model": "ModelQuestion"}
    screens |= {"machine": "MachineQuestion", "judge": "JudgeQuestion", "page": "GuidePage"}
    stage.write("chats.jsonl", chats())
    stage.write("reviews.jsonl", labelled(20))
    answers = {
        "task": "style",
        "data": "chats.jsonl",
        "model": "demo",
        "machine": "here",
        "judge": "held-out",
    }
    order = [*answers, "page"]
    known = order[: order.index({"goal": "task"}.get(question, question))]
    walk = Walk(Answers(**{name: answers[name] for name in known}), set(known))
    with _one_machine():
        async with stage.app() as pilot:
            await until(pilot, lambda: "Guide me" in text(pilot))
            pilot.app.push_screen(getattr(module, screens[question])(walk))
            await until(pilot, lambda: all(word in text(pilot) for word in words), 60)
            yield pilot


@scene("GoalQuestion")
async def guide_goal(stage: Stage) -> Shown:
    async with _asked(stage, "goal", "suggested: chats.jsonl") as pilot:
        yield pilot


@scene("DataQuestion")
async def guide_data(stage: Stage) -> Shown:
    async with _asked(stage, "data", "60 rows, all of them read") as pilot:
        yield pilot


@scene("NoDataQuestion")
async def guide_no_data(stage: Stage) -> Shown:
    with _one_machine():
        async with stage.app() as pilot:
            await pilot.press("g")
            await until(pilot, lambda: "Label texts" in text(pilot))
            await pilot.press("down", "enter")
            await until(pilot, lambda: "I have no data yet" in text(pilot))
            await pilot.press("enter")
            await until(pilot, lambda: "text,label" in text(pilot))
            yield pilot


@scene("ModelQuestion")
async def guide_model(stage: Stage) -> Shown:
    async with _asked(stage, "model", "SmolLM2-135M") as pilot:
        await until(pilot, lambda: "planning" not in text(pilot), 60)
        yield pilot


@scene("MachineQuestion")
async def guide_machine(stage: Stage) -> Shown:
    async with _asked(stage, "machine", "This machine") as pilot:
        yield pilot


@scene("JudgeQuestion")
async def guide_judge(stage: Stage) -> Shown:
    async with _asked(stage, "judge", "Held-out rows") as pilot:
        yield pilot


@scene("GuidePage")
async def guide_page(stage: Stage) -> Shown:
    async with _asked(stage, "page", "ready: press ^r to start") as pilot:
        yield pilot
