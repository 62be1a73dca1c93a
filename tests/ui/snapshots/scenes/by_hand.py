"""Rows that are written by hand: a class for a text, tags on words, an answer in a text, a chat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.stage import Stage, shows
from tui_tuner.ui.screens.guide.annotate import AnnotateScreen

Shown = AsyncIterator[Pilot[Any]]

_MAILS = (
    "The heel broke on the first day.\n\nBest boots that I ever had!\n\nAda Lovelace asks from Lima when the "
    "green jacket will be there again, in size 44 if possible.\n\nIt took five weeks, and the box was open.\n"
)


@asynccontextmanager
async def _writing(stage: Stage, path: str | None, task: str) -> AsyncIterator[Pilot[Any]]:
    (stage.folder / "mails.txt").write_text(_MAILS)
    async with stage.app() as pilot:
        pilot.app.push_screen(AnnotateScreen(path, task))
        await shows(pilot, "row")
        yield pilot


@scene("AnnotateScreen")
async def write_labels(stage: Stage) -> Shown:
    async with _writing(stage, "mails.txt", "classification") as pilot:
        for name in ("complaint", "praise"):
            await pilot.press("n", *name, "enter")
        await shows(pilot, "when the green jacket")
        yield pilot


@scene("AnnotateScreen")
async def write_tags(stage: Stage) -> Shown:
    async with _writing(stage, "mails.txt", "token_classification") as pilot:
        await pilot.press("enter", "enter", "space", "right", "n", *"person", "enter")
        await pilot.press("right", "right", "n", *"place", "enter")
        await shows(pilot, "[Lima]place")
        yield pilot


@scene("AnnotateScreen")
async def write_questions(stage: Stage) -> Shown:
    async with _writing(stage, "mails.txt", "question_answering") as pilot:
        await pilot.press("W", "h", "a", "t", "?", "enter", "space", "right")
        yield pilot


@scene("AnnotateScreen")
async def write_answers(stage: Stage) -> Shown:
    async with _writing(stage, None, "sft") as pilot:
        await pilot.press("H", "i", "?", "tab", "H", "e", "l", "l", "o")
        yield pilot
