"""Data that are for another task, or fit another better: it is said, and one key takes that task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.ui import form_values
from tui_tuner.ui.screens.data_screen import DataScreen
from tui_tuner.ui.screens.settings import SettingsScreen

CONTEXT = (
    "The old lighthouse keeper painted seven wooden boats during one long winter near Fairholm harbour, "
    "because nobody else wanted to."
)
WORDS = CONTEXT.split()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    """Questions whose answers have their place in the text."""
    answers = [{"text": [WORDS[n]], "answer_start": [CONTEXT.index(WORDS[n])]} for n in range(12)]
    rows = [
        {"question": f"What is {n}?", "context": CONTEXT, "answers": answer}
        for n, answer in enumerate(answers)
    ]
    return write(tmp_path / "squad.jsonl", rows * 3)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Questions whose answers stand in the text, and nobody says where: they can be learnt as chats too."""
    rows = [
        {"question": f"What is {n}?", "context": CONTEXT, "answer": " ".join(WORDS[n : n + 2])}
        for n in range(12)
    ]
    return write(tmp_path / "written.jsonl", rows * 3)


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    return write(tmp_path / "chats.jsonl", [{"messages": turns}] * 30)


async def look_at(pilot, path: Path, task: str) -> DataScreen:
    pilot.app.draft = {"task": task, "data": {"path": str(path)}, "model": {"name": "demo"}}
    pilot.app.open_data()
    await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen) and pilot.app.screen.judged)
    return pilot.app.screen


@pytest.mark.parametrize("size", SIZES)
async def test_rows_of_another_task_change_it_by_one_key(
    opened: Opened, squad: Path, size: tuple[int, int]
) -> None:
    async with opened(size=size) as pilot:
        screen = await look_at(pilot, squad, "sft")
        await until(pilot, lambda: "questions with answers inside a text" in text(pilot))
        assert "k sets task question_answering" in text(pilot)
        await pilot.press("k")
        await until(pilot, lambda: screen.judged and screen.refusal is None)
        assert form_values.find_draft_value(pilot.app.draft, "task") == "question_answering"
        assert "sets task" not in text(pilot)
        await until(pilot, lambda: "→ question: What is 0?; answer: “The”" in text(pilot))
        await pilot.press("u")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        pages = pilot.app.screen._form_pages
        assert await pages.show_field("data.stride", pilot.app.drafts.draft) is not None
        assert await pages.show_field("data.train_on", pilot.app.drafts.draft) is None


async def test_a_task_that_fits_better_is_told_unasked(opened: Opened, written: Path) -> None:
    async with opened() as pilot:
        screen = await look_at(pilot, written, "sft")
        assert screen.refusal is None and screen.better is not None  # it can be trained as it is
        await until(pilot, lambda: "question_answering? k sets task" in text(pilot))
        await pilot.press("u")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        await until(pilot, lambda: pilot.app.screen.other_task_values is not None)
        await until(pilot, lambda: "F5 sets task question_answering" in text(pilot))
        assert "ready" in text(pilot)
        await pilot.press("f5")
        await until(
            pilot, lambda: form_values.find_draft_value(pilot.app.draft, "task") == "question_answering"
        )
        wanted = {"question": "question", "context": "context", "answers": "answer"}
        assert form_values.find_draft_value(pilot.app.draft, "data.columns") == wanted
        await until(pilot, lambda: "ready" in text(pilot) and pilot.app.screen.other_task_values is None)


async def test_chats_under_another_task_are_for_fine_tuning(opened: Opened, chats: Path) -> None:
    async with opened() as pilot:
        pilot.app.draft = {"task": "classification", "data": {"path": str(chats), "problem": "single"}}
        pilot.app.open_settings()
        await until(pilot, lambda: "cannot use" in text(pilot))
        await until(pilot, lambda: "F5 sets task sft" in text(pilot))
        field = await pilot.app.screen._form_pages.show_field("data.problem", pilot.app.drafts.draft)
        assert field is not None
        pilot.app.set_focus(field.query("FieldSelect, Input").first())
        await pilot.press("f5")
        await until(pilot, lambda: "ready" in text(pilot))
        assert pilot.app.focused is not None and pilot.app.focused.id == "nav"
        assert form_values.find_draft_value(pilot.app.draft, "task") == "sft"
        assert pilot.app.draft["data"]["problem"] == "single"  # kept for another change of mind


async def test_a_class_is_shown_with_its_row(opened: Opened, tmp_path: Path) -> None:
    rows = [{"text": f"good film {n}", "label": "pos" if n % 2 else "neg"} for n in range(30)]
    path = write(tmp_path / "films.jsonl", rows)
    async with opened() as pilot:
        await look_at(pilot, path, "classification")
        await until(pilot, lambda: "→ class: neg" in text(pilot))
        assert "trained (" not in text(pilot)
        assert not isinstance(pilot.app.focused, Input)
