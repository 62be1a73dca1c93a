"""Rows on the data screen: as turns, whole, found, gone to, broken ones alone, and the held-out ones."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.ui import datalook
from tui_tuner.ui.screens.data_screen import DataScreen
from tui_tuner.ui.screens.one_row import RowScreen
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.widgets.data.row_list import RowList

HOSTILE = "[/red] [@click=app.quit]x[/] \x1b[2J"


def write(path: Path, rows: list[Any]) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def alpaca(count: int, **special: str) -> list[Any]:
    rows: list[Any] = [
        {"instruction": f"Question {n}?", "output": f"Answer {n}."} for n in range(1, count + 1)
    ]
    for name, output in special.items():
        rows[int(name[1:]) - 1]["output"] = output
    return rows


def told(pilot: Pilot[Any]) -> str:
    """What notices say."""
    return "\n".join(notice.message for notice in pilot.app._notifications)


async def look(pilot: Pilot[Any], path: Any, task: str = "sft", **data: Any) -> RowList:
    pilot.app.draft = {"task": task, "data": {"path": path, **data}, "model": {"name": "demo"}}
    pilot.app.open_data()
    await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen) and pilot.app.screen.query(RowList))
    rows = pilot.app.screen.query_one(RowList)
    await until(pilot, lambda: rows.spool is not None and rows.spool.done, 30)
    await until(pilot, lambda: rows.count > 0)
    return rows


@pytest.mark.parametrize("size", SIZES)
async def test_a_chat_shows_its_question_and_its_last_answer_and_opens_whole(
    tmp_path: Path, opened: Opened, size: tuple[int, int]
) -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": f"First {HOSTILE}"},
        {"role": "assistant", "content": "Middle.", "reasoning_content": "Let me think."},
        {"role": "user", "content": "Second"},
        {"role": "assistant", "content": "Last of all. 颜色 " + "long " * 200},
    ]
    path = write(
        tmp_path / "chats.jsonl", [{"messages": turns, "source": "the web"}, {"messages": turns[:3]}]
    )
    async with opened(size) as pilot:
        await look(pilot, str(path))
        shown = text(pilot)
        assert "1 user: First [/red]" in shown and "assistant: Last of all. 颜" in shown
        assert "\x1b" not in shown
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RowScreen) and "row 1 of 2" in text(pilot))
        shown = text(pilot)
        for words in (
            "system",
            "Be kind.",
            "assistant thinks (reasoning_content)",
            "Let me think.",
            "Second",
        ):
            assert words in shown
        await pilot.press("end")
        await until(pilot, lambda: "not used: source" in text(pilot) and "the web" in text(pilot))
        await pilot.press("right")
        await until(pilot, lambda: "row 2 of 2" in text(pilot))
        await pilot.press("right", "left")
        await until(pilot, lambda: "row 1 of 2" in text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))


async def test_rows_are_found_gone_to_and_broken_ones_stand_alone(tmp_path: Path, opened: Opened) -> None:
    rows = alpaca(3000, r1777='the "Needle"\nin it', r2900="needle too")
    rows[41], rows[2500] = "not json", {"instruction": "", "output": "x"}
    path = write(tmp_path / "rows.jsonl", rows)
    async with opened() as pilot:
        found = await look(pilot, str(path))
        await until(pilot, lambda: "3,000 rows: 2,998 kept, 2 dropped" in text(pilot))
        await pilot.press("slash", *'the "needle"', "enter")
        await until(pilot, lambda: found.current_row == 1776)
        assert 'the "Needle"↵in it' in text(pilot)
        await pilot.press("slash", *["ctrl+u"], *"NEEDLE", "enter", "n")
        await until(pilot, lambda: found.current_row == 2899)
        await pilot.press("N")
        await until(pilot, lambda: found.current_row == 1776)
        await pilot.press("slash", "ctrl+u", *"nowhere", "enter")
        await until(pilot, lambda: "No more rows contain nowhere." in told(pilot))
        assert found.current_row == 1776
        await pilot.press("g", *"2,501", "enter")
        await until(pilot, lambda: found.current_row == 2500)
        assert "✗ the prompt is empty" in text(pilot)
        await pilot.press("b")
        await until(pilot, lambda: found.count == 2)
        lines = text(pilot).splitlines()
        broken = next(line for line in lines if "✗ broken JSON" in line)
        assert "42 ✗" in broken and "not json" not in broken.split("broken JSON")[0]
        assert "2,501 ✗ the prompt is empty" in text(pilot)
        await pilot.press("down", "b")
        await until(pilot, lambda: found.current_row == 2500 and found.count == 3000)
        await pilot.press("g", *"4000", "enter")
        await until(pilot, lambda: found.current_row == 2999)


async def test_each_task_shows_its_rows_in_its_own_way(tmp_path: Path, opened: Opened) -> None:
    cases = {
        "classification": ({"text": "A good film", "label": "pos"}, ("A good film", "class: pos")),
        "token_classification": (
            {"tokens": ["Ann", "met", "Bob"], "ner_tags": ["B-PER", "O", "B-PER"]},
            ("Ann⟨B-PER⟩ met Bob⟨B-PER⟩",),
        ),
        "question_answering": (
            {"question": "Who?", "context": "Ann met Bob", "answers": {"text": ["Bob"], "answer_start": [8]}},
            ("question: Who?", "answer: “Bob”", "text: Ann met Bob"),
        ),
        "pretraining": ({"text": "Once upon a time"}, ("Once upon a time",)),
    }
    async with opened(size=(100, 32)) as pilot:
        for task, (row, shown) in cases.items():
            path = write(tmp_path / f"{task}.jsonl", [row] * 12)
            await look(pilot, str(path), task)
            await until(pilot, lambda shown=shown: all(words in text(pilot) for words in shown))
            pilot.app.pop_screen()
        pair = {"prompt": "Say a colour.", "chosen": "Blue.", "rejected": "No."}
        await look(pilot, str(write(tmp_path / "pairs.jsonl", [pair] * 12)))
        shown = text(pilot)  # which this task cannot use: marked, and shown all the same
        assert "✗ user: Say a colour." in shown and "chosen: Blue." in shown and "rejected: No." in shown
        assert "12 rows: 12 dropped" in shown


async def test_several_data_sets_are_shown_and_kept(tmp_path: Path, opened: Opened) -> None:
    first = write(tmp_path / "first.jsonl", alpaca(5))
    second = write(tmp_path / "second.jsonl", alpaca(7))
    paths = [str(first), {"path": str(second), "weight": 2.0}]
    async with opened() as pilot:
        rows = await look(pilot, paths)
        await until(pilot, lambda: "12 rows: 12 kept" in text(pilot))
        assert rows.count == 12 and "2 data sets: first.jsonl, second.jsonl" in text(pilot)
        await pilot.press("u")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        await until(pilot, lambda: "Method" in text(pilot), 60)
        assert pilot.app.draft["data"]["path"] == paths


async def test_held_out_rows_of_a_file_are_looked_at_too(tmp_path: Path, opened: Opened) -> None:
    rows, held = write(tmp_path / "rows.jsonl", alpaca(5)), write(tmp_path / "held.jsonl", alpaca(3))
    async with opened() as pilot:
        await look(pilot, str(rows), validation=str(held))
        await pilot.press("v")
        await until(pilot, lambda: "3 held-out rows: 3 kept" in text(pilot), 60)
        assert "Use in a run" not in text(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: "5 rows: 5 kept" in text(pilot), 60)
        assert pilot.app.draft["data"]["path"] == str(rows)


async def test_keys_that_come_before_the_screen_does_are_typed_into_it(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "sharegpt_dummy.json", alpaca(4))
    monkeypatch.chdir(tmp_path)
    async with opened() as pilot:
        pilot.app.open_data()
        for key in "sharegpt_du":
            pilot.app.post_message(events.Key("underscore" if key == "_" else key, key))
        await until(
            pilot, lambda: isinstance(pilot.app.screen, DataScreen) and pilot.app.screen.query("#path")
        )
        field = pilot.app.screen.query_one("#path", Input)
        await until(pilot, lambda: field.value == "sharegpt_du")
        await pilot.press("question_mark", "backspace", "tab", "enter")
        await until(pilot, lambda: "4 rows: 4 kept" in text(pilot), 60)
        await pilot.press("o")
        await until(pilot, lambda: field.value.endswith("/sharegpt_dummy.json"))  # it follows the cursor
        assert pilot.app.screen.query_one("#paths").has_focus
        await pilot.press("x", "y", "enter")  # typed in the list; then nothing is there
        await until(pilot, lambda: "There is no" in text(pilot))
        assert field.has_focus and field.value.endswith("xy")
        await pilot.press("escape")
        await until(pilot, lambda: "4 rows: 4 kept" in text(pilot) and "1 user: Question 1?" in text(pilot))


async def test_u_is_obeyed_once_it_is_known_whether_the_data_can_be_used(
    tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, known, real = (
        write(tmp_path / "rows.jsonl", alpaca(50)),
        threading.Event(),
        datalook.find_draft_refusal,
    )

    def slow(draft: Any, path: Any) -> Any:
        known.wait(30)
        return real(draft, path)

    monkeypatch.setattr(datalook, "find_draft_refusal", slow)
    async with opened(config={"data": {"path": str(path)}}) as pilot:
        pilot.app.open_data()
        await until(pilot, lambda: "Question 2?" in text(pilot), 60)
        await pilot.press("u")
        await until(pilot, lambda: "Checking whether the task" in told(pilot))
        assert isinstance(pilot.app.screen, DataScreen)
        known.set()
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen), 60)
        await until(pilot, lambda: "Method" in text(pilot), 60)
