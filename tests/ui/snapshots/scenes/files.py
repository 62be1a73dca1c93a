"""Files to choose from, and rows of one opened whole."""

from __future__ import annotations

from tests.ui.conftest import text, until
from tests.ui.snapshots.scenes import scene
from tests.ui.snapshots.scenes.forms import SHOP, Shown
from tests.ui.snapshots.stage import Stage
from tui_tuner.ui.recent_paths import note_recent_path

CHAT = [
    {"role": "system", "content": "You work in a shop."},
    {"role": "user", "content": "Have you got pears?"},
    {
        "role": "assistant",
        "content": "We have: six ripe ones.",
        "reasoning_content": "Pears came in this morning.",
    },
]


@scene("FileDialog")
async def file_to_choose(stage: Stage) -> Shown:
    from tui_tuner.ui.screens.file_dialog import FileDialog

    for name in ("rows.jsonl", "[more] rows.jsonl", "picture.png"):
        stage.write(name, SHOP)
    (stage.folder / "lost.jsonl").symlink_to("nowhere")
    note_recent_path("data", "rows.jsonl")
    async with stage.app() as pilot:
        pilot.app.push_screen(FileDialog("Choose the data", "", (".jsonl",)))
        await until(pilot, lambda: "broken link" in text(pilot) and "↺" in text(pilot))
        await pilot.press("down", "down")
        yield pilot


@scene("RowScreen")
async def row_whole(stage: Stage) -> Shown:
    path = stage.write("chats.jsonl", [{"messages": CHAT, "source": "a shop"}, {"messages": CHAT[1:]}])
    async with stage.app(config={"data": {"path": path}}) as pilot:
        await pilot.press("d")
        await until(pilot, lambda: "2 rows: 2 kept" in text(pilot) and "▸" in text(pilot), 60)
        await pilot.press("enter")
        await until(pilot, lambda: "not used: source" in text(pilot))
        yield pilot
