"""Chats that were held already: no model is loaded to read them, so none is here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from textual.pilot import Pilot

from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.scenes.runs import written
from tests.ui.snapshots.stage import BEGAN, Stage, shows
from tui_tuner.inference.origin import BASE, Origin
from tui_tuner.inference.talk import Reply, Talk, Turn
from tui_tuner.ui.screens.chat.chat_screen import ChatScreen
from tui_tuner.ui.screens.chat.token_screen import TokensScreen

Shown = AsyncIterator[Pilot[Any]]
POEM = """Three things about **wool**:

1. it is *warm*, even when it is wet
2. it is washed by hand, see [how](https://example.org)

```python
print("wool & silk")
```

| cloth | warm |
|-------|------|
| wool  | yes  |
| silk  | no   |
"""


def _reply(talk: Talk, turn: Turn, model: Origin, text: str, **more: Any) -> None:
    figures = {"tokens": len(text) // 4, "rate": 31.4, "first": 0.21, "prompt_tokens": 48, "done": True}
    turn.replies[model] = Reply(talk.build_messages(model, turn), text, **{**figures, **more})


def _talk(stage: Stage, beside: bool) -> Talk:
    folder = written(stage, "red-coats", 100, 100, "completed", ago=4000.0)
    stage.clock.now = BEGAN
    path = str(folder.path.absolute())
    tuned = Origin("run", folder.name, path, "best")
    models = [tuned, Origin("run", folder.name, path, BASE)] if beside else [tuned]
    talk = Talk(models)
    turn = talk.say_prompt("item: coat | colour: red [not dark] | fabric: wool")
    for model in models:
        text = "A red coat of **warm wool**." if model is tuned else "of of the and and coat"
        _reply(talk, turn, model, text, good=True if model is tuned and beside else None)
    if not beside:
        again = talk.ask_again(turn)
        _reply(talk, again, tuned, POEM, temperature=0.8)
    return talk


@asynccontextmanager
async def _chat(stage: Stage, beside: bool = False) -> AsyncIterator[Pilot[Any]]:
    talk = _talk(stage, beside)
    async with stage.app() as pilot:
        pilot.app.push_screen(ChatScreen(talk.models, talk=talk))
        await shows(pilot, "always the likeliest token", "context")
        yield pilot


@scene("ChatScreen")
async def chat_with_one(stage: Stage) -> Shown:
    async with _chat(stage) as pilot:
        yield pilot


@scene("ChatScreen")
async def chat_side_by_side(stage: Stage) -> Shown:
    async with _chat(stage, True) as pilot:
        await pilot.press("tab")
        yield pilot


@scene("ChatScreen")
async def chat_without_a_model(stage: Stage) -> Shown:
    async with stage.app() as pilot:
        pilot.app.push_screen(ChatScreen(["red-coats-7"]))
        await shows(pilot, "there is no run, folder or model with this name")
        yield pilot


@scene("ModelDialog")
async def chat_who_answers(stage: Stage) -> Shown:
    async with _chat(stage) as pilot:
        await pilot.press("f7")
        await shows(pilot, "base model of red-coats")
        yield pilot


@scene("SamplingDialog")
async def chat_settings(stage: Stage) -> Shown:
    async with _chat(stage) as pilot:
        await pilot.press("f2", "2", "0", "0", "enter")
        await shows(pilot, "from 0.0 to 100.0")
        yield pilot


@scene("SystemDialog")
async def chat_system_prompt(stage: Stage) -> Shown:
    async with _chat(stage) as pilot:
        await pilot.press("f6", "B", "e", "space", "b", "r", "i", "e", "f", "full_stop")
        await shows(pilot, "Be brief.")
        yield pilot


@scene("TokensScreen")
async def chat_tokens(stage: Stage) -> Shown:
    talk = _talk(stage, True)
    words = ["item", ":", " coat", " ", "|", "\x1b[31m", " col", "our", "\n\n", "of", " wo", "ol"] * 6
    tokens = [(1, "<|im_start|>", True), *((7 + at, word, False) for at, word in enumerate(words))]
    async with stage.app() as pilot:
        pilot.app.push_screen(TokensScreen(talk.models, [tokens, tokens[:20]]))
        await shows(pilot, "of them special")
        yield pilot
