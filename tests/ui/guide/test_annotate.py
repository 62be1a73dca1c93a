"""Rows written with the keys of the screen, at 80x24: what then stands in the file, and in the look at it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from tests.ui.conftest import Opened, text, until
from tui_tuner.guiding.data_look import look_at_data
from tui_tuner.ui.screens.guide.annotate import AnnotateScreen

Result = list[str | None]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def annotating(
    opened: Opened, path: str | None, task: str, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[Pilot[Any], Result]]:
    """The screen; its list gets what it gives once it is left."""
    gave: Result = []
    async with opened(size=size) as pilot:
        screen = AnnotateScreen(path, task)
        pilot.app.push_screen(screen, gave.append)
        await until(pilot, lambda: screen.annotation is not None and screen.focused is not None)
        yield pilot, gave


async def typed(pilot: Pilot[Any], words: str) -> None:
    """Type into what has the focus, key by key."""
    names = {" ": "space", "\n": "enter"}
    await pilot.press(*(names.get(letter, letter) for letter in words))


def rows(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


async def test_questions_and_answers_are_typed_and_become_a_file(opened: Opened, tmp_path: Path) -> None:
    async with annotating(opened, None, "sft") as (pilot, gave):
        await typed(pilot, "Hi?")
        await pilot.press("tab")
        await typed(pilot, "Hello!")
        await pilot.press("ctrl+s")
        assert "1 row; 9 more until an effect begins to show" in text(pilot)
        assert rows("my-answers.jsonl") == [{"prompt": "Hi?", "response": "Hello!"}]
        await typed(pilot, "Half")
        await pilot.press("ctrl+s")  # the answer is missing
        assert "Type both the prompt" in text(pilot) and len(rows("my-answers.jsonl")) == 1
        await pilot.press("escape")
        assert "is not saved" in text(pilot) and not gave
        await pilot.press("escape")
        await until(pilot, lambda: bool(gave))
    assert gave == ["my-answers.jsonl"]
    assert look_at_data("my-answers.jsonl").task == "sft"


async def test_a_file_that_is_there_is_gone_on_with(opened: Opened, tmp_path: Path) -> None:
    Path("my-answers.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt": "half of a li')
    async with annotating(opened, None, "sft") as (pilot, gave):
        assert "1 row;" in text(pilot)
        await typed(pilot, "c")
        await pilot.press("tab", "d", "ctrl+s", "escape")
        await until(pilot, lambda: bool(gave))
    assert [row["prompt"] for row in rows("my-answers.jsonl")] == ["a", "c"]


async def test_leaving_at_once_writes_nothing(opened: Opened, tmp_path: Path) -> None:
    async with annotating(opened, None, "sft") as (pilot, gave):
        await pilot.press("escape")
        await until(pilot, lambda: bool(gave))
    assert gave == [None] and not list(tmp_path.glob("*.jsonl"))


async def test_texts_of_a_file_get_a_class_by_a_digit(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "mails.txt"
    path.write_text("The heel broke.\nLovely boots!\nAll is well, thank you.\nIt never came.")
    async with annotating(opened, str(path), "classification") as (pilot, gave):
        assert "The heel broke." in text(pilot) and "4 texts left" in text(pilot)
        await pilot.press("n")
        await typed(pilot, "bad\n")
        assert "Lovely boots!" in text(pilot)
        await pilot.press("n")
        await typed(pilot, "good\n")
        await pilot.press("2")  # the third is good, too
        await until(pilot, lambda: "It never came." in text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: bool(gave))
    out = str(tmp_path / "mails-labels.jsonl")
    assert gave == [out] and [row["label"] for row in rows(out)] == ["bad", "good", "good"]
    async with annotating(opened, str(path), "classification") as (pilot, gave):
        assert "It never came." in text(pilot) and "1 text left" in text(pilot)
        await pilot.press("1")
        await until(pilot, lambda: "All texts of the file are done" in text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: bool(gave))
    assert rows(out)[-1] == {"text": "It never came.", "label": "bad"}
    assert look_at_data(out).labels == {"bad": 2, "good": 2}


async def test_the_last_row_is_taken_back_and_changed(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("One.\nTwo.\nThree.")
    async with annotating(opened, "t.txt", "classification") as (pilot, _gave):
        await pilot.press("n")
        await typed(pilot, "a\n")
        await pilot.press("n")
        await typed(pilot, "b\n")
        await pilot.press("ctrl+z")
        assert "Two." in text(pilot) and [row["label"] for row in rows("t-labels.jsonl")] == ["a"]
        await pilot.press("1")
        assert [row["label"] for row in rows("t-labels.jsonl")] == ["a", "a"]
        await pilot.press("ctrl+z", "ctrl+z", "ctrl+z")
        assert "no row to undo" in text(pilot) and rows("t-labels.jsonl") == []


async def test_a_text_is_typed_and_then_gets_its_class(opened: Opened, tmp_path: Path) -> None:
    async with annotating(opened, "new.jsonl", "classification") as (pilot, _gave):
        await typed(pilot, "It is 1st rate")
        await pilot.press("tab", "n")
        await typed(pilot, "good\n")
        await typed(pilot, "So so")
        await pilot.press("tab", "1")
    assert rows("new.jsonl") == [
        {"text": "It is 1st rate", "label": "good"},
        {"text": "So so", "label": "good"},
    ]


async def test_words_are_tagged_with_cursor_keys(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Ada Lovelace saw Lima, twice.\nNobody came.")
    async with annotating(opened, "t.txt", "token_classification") as (pilot, gave):
        await pilot.press("space", "right", "n")
        await typed(pilot, "big person\n")
        assert "[Ada Lovelace]big_person" in text(pilot)
        await pilot.press("right", "n")
        await typed(pilot, "place\n")
        await pilot.press("left", "backspace", "left", "2", "enter")
        await until(pilot, lambda: "Nobody came." in text(pilot))
        await pilot.press("enter", "escape")
        await until(pilot, lambda: bool(gave))
    out = tmp_path / "t-tags.jsonl"
    assert rows(out) == [
        {
            "tokens": ["Ada", "Lovelace", "saw", "Lima", ",", "twice", "."],
            "ner_tags": ["B-big_person", "I-big_person", "O", "B-place", "O", "O", "O"],
        },
        {"tokens": ["Nobody", "came", "."], "ner_tags": ["O", "O", "O"]},
    ]
    look = look_at_data(str(out))
    assert look.task == "token_classification" and look.tags == {"big_person": 1, "place": 1}


async def test_an_answer_is_marked_in_its_text(opened: Opened, tmp_path: Path) -> None:
    async with annotating(opened, None, "question_answering") as (pilot, gave):
        await typed(pilot, "It opens at half past nine.")
        await pilot.press("ctrl+s")
        await typed(pilot, "When?\n")
        await pilot.press(*["right"] * 3, "space", "right", "right", "enter")
        await typed(pilot, "Why?\n")
        await pilot.press("x", "ctrl+n")
        await typed(pilot, "Next text")
        await pilot.press("escape", "escape")
        await until(pilot, lambda: bool(gave))
    context = "It opens at half past nine."
    found = {"text": ["half past nine"], "answer_start": [12]}
    assert rows("my-questions.jsonl") == [
        {"question": "When?", "context": context, "answers": found},
        {"question": "Why?", "context": context, "answers": {"text": [], "answer_start": []}},
    ]
    assert look_at_data("my-questions.jsonl").task == "question_answering"


async def test_what_was_pasted_cannot_steer_the_terminal(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("safe \x1b[2Jtext\u202e here\n\nmore")
    async with annotating(opened, "t.txt", "classification") as (pilot, _gave):
        assert "\x1b" not in text(pilot) and "\u202e" not in text(pilot)
        await pilot.press("n")
        pilot.app.screen.query_one(Input).value = "bad\x1b]0;x\x07"
        await pilot.press("enter")
    assert rows("t-labels.jsonl")[0] == {"text": "safe [2Jtext here", "label": "bad]0;x"}
    async with annotating(opened, None, "sft") as (pilot, _gave):
        pilot.app.screen.query_one("#prompt", TextArea).text = "a\x1b[2Jb"
        await pilot.pause()
        assert "\x1b" not in pilot.app.screen.query_one("#prompt", TextArea).text


async def test_a_folder_that_cannot_be_written_loses_no_word(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    async with annotating(opened, "gone/new.jsonl", "sft") as (pilot, _gave):
        (tmp_path / "gone").rmdir()
        await pilot.press("a", "tab", "b", "ctrl+s")
        assert "cannot be written" in text(pilot)
        assert pilot.app.screen.query_one("#answer", TextArea).text == "b"


async def test_a_path_that_is_none_is_said(opened: Opened, tmp_path: Path) -> None:
    async with opened(size=(80, 24)) as pilot:
        gave: Result = []
        pilot.app.push_screen(AnnotateScreen("nothing.txt", "sft"), gave.append)
        await until(pilot, lambda: "no such file" in text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: bool(gave))
        assert gave == [None]


WRITER = """
import sys
from tui_tuner.guiding.annotate import open_annotation
found = open_annotation("rows.jsonl", "sft")
for number in range(10**9):
    found.append_row({"prompt": f"p{len(found.rows)}", "response": "x" * 5000})
    if number == 3:
        print("on", flush=True)
"""


def test_a_kill_leaves_a_file_of_whole_rows_that_is_gone_on_with(tmp_path: Path) -> None:
    from tui_tuner.guiding.annotate import open_annotation

    before = 0
    for _turn in range(2):
        writer = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, cwd=tmp_path)
        assert writer.stdout is not None and writer.stdout.readline()
        time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        found = open_annotation("rows.jsonl", "sft")
        assert len(found.rows) > before
        assert [row["prompt"] for row in found.rows] == [f"p{n}" for n in range(len(found.rows))]
        assert rows("rows.jsonl") == found.rows
        before = len(found.rows)
