"""Led through five questions by real keys, over real files, to a page, a form, and a run that was trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.ui.conftest import SIZES, Opened, text, until
from tests.ui.guide.rows import SHAPES, chats, write_rows
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.guiding.guide_answers import Answers
from tui_tuner.launch.thread_host import ThreadHost
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.store import RunStore
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.tasks.preview.data_finding import find_data
from tui_tuner.ui.app import TunerApp
from tui_tuner.ui.screens.chat.chat_screen import ChatScreen
from tui_tuner.ui.screens.fixing import put_fix_values
from tui_tuner.ui.screens.guide.data_question import DataQuestion
from tui_tuner.ui.screens.guide.goal_question import GoalQuestion
from tui_tuner.ui.screens.guide.guide_page import GuidePage
from tui_tuner.ui.screens.guide.guide_walk import Walk
from tui_tuner.ui.screens.guide.model_question import ModelQuestion
from tui_tuner.ui.screens.home import HomeScreen
from tui_tuner.ui.screens.results import ResultsScreen
from tui_tuner.ui.screens.settings import SettingsScreen


@pytest.fixture(autouse=True)
def in_an_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-models"))
    return folder


def on(pilot: Pilot[Any], screen: type) -> bool:
    return isinstance(pilot.app.screen, screen)


async def test_the_page_leads_into_the_form_and_takes_back_what_was_changed_there(opened: Opened) -> None:
    write_rows(Path("chats.jsonl"), chats())
    walk = Walk(Answers("style", "chats.jsonl", "demo", "here", None, "held-out"))
    async with opened() as pilot:
        pilot.app.push_screen(GuidePage(walk))
        await until(pilot, lambda: "ready: press ^r to start" in text(pilot), 30)
        assert "What will happen" in text(pilot) and "demo" in text(pilot)
        values = copy.deepcopy(pilot.app.draft)
        assert values["task"] == "sft" and values["data"]["path"].endswith("chats.jsonl")
        await pilot.press("enter")
        await until(pilot, lambda: on(pilot, SettingsScreen))
        await pilot.press("ctrl+z")  # undo works in the form
        await until(pilot, lambda: pilot.app.draft != values)
        await pilot.press("ctrl+y")
        await until(pilot, lambda: pilot.app.draft == values)
        put_fix_values(pilot.app, {"training.epochs": 1.5})
        await pilot.press("escape", "escape")
        await until(pilot, lambda: on(pilot, GuidePage) and "ready: press ^r" in text(pilot), 30)
        assert walk.answers.more == {"training.epochs": 1.5}
        await pilot.press("ctrl+z")
        await until(pilot, lambda: pilot.app.draft == values, 30)


@pytest.mark.parametrize(("name", "size"), list(zip(SHAPES, [*SIZES, *SIZES], strict=True)))
async def test_the_goal_is_guessed_from_the_file_and_its_rows_are_shown(
    opened: Opened, name: str, size: tuple[int, int]
) -> None:
    task, rows = SHAPES[name]
    write_rows(Path(name), rows())
    async with opened(size) as pilot:
        await pilot.press("g")
        await until(pilot, lambda: f"suggested: {name}" in text(pilot))
        assert pilot.app.screen.walk.best_file.task == task
        await pilot.press("enter")
        await until(pilot, lambda: on(pilot, DataQuestion))
        await until(pilot, lambda: "60 rows, all of them read" in text(pilot), 60)
        assert pilot.app.screen.walk.task_name == task
        assert "✓" in text(pilot) and "›" in text(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: on(pilot, GoalQuestion))
        assert pilot.app.screen.walk.answers.task is not None  # going back loses nothing


async def test_a_folder_without_data_leads_to_an_example_file(opened: Opened) -> None:
    async with opened() as pilot:
        await pilot.press("g")
        await until(pilot, lambda: on(pilot, GoalQuestion))
        await pilot.press("down", "enter")  # label texts
        await until(pilot, lambda: "I have no data yet" in text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "No data yet" in text(pilot))
        assert "text,label" in text(pilot)
        await pilot.press("enter")
        (written,) = Path.cwd().glob("example-*")
        await until(pilot, lambda: on(pilot, DataQuestion) and written.name in text(pilot))
    assert find_data(str(Path.cwd()))[0].task == "classification"


async def test_a_broken_file_says_where_and_offers_ways_out(opened: Opened) -> None:
    write_rows(Path("bad.jsonl"), ["{not json", "[1, 2"])
    async with opened() as pilot:
        await pilot.press("g")
        await until(pilot, lambda: on(pilot, GoalQuestion))
        await pilot.press("enter")
        await until(pilot, lambda: on(pilot, DataQuestion) and "bad.jsonl" in text(pilot))
        await until(pilot, lambda: "F4 Fix" in text(pilot) or "f4 Fix" in text(pilot))
        await pilot.press("enter")  # it cannot be taken
        await until(pilot, lambda: "Choose another file" in text(pilot))
        assert not isinstance(pilot.app.screen, ModelQuestion)


async def test_rows_of_another_goal_change_it_by_one_key(opened: Opened) -> None:
    write_rows(Path("reviews.jsonl"), SHAPES["reviews.jsonl"][1]())
    async with opened() as pilot:
        await pilot.press("g")
        await until(pilot, lambda: "suggested" in text(pilot))
        await pilot.press("home", "enter")  # answer in my style: not what these rows are for
        await until(pilot, lambda: on(pilot, DataQuestion) and "Change goal" in text(pilot), 60)
        await pilot.press("f5")
        await until(pilot, lambda: pilot.app.screen.walk.task_name == "classification")
        await until(pilot, lambda: "60 rows, all of them read" in text(pilot), 60)


async def test_a_task_that_is_new_has_its_choice(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui_tuner.config.kinds.tasks import TaskKind

    toy = TaskKind("sentiment", "Sentiment", "Learn the class of a text.")
    monkeypatch.setitem(TASKS, "sentiment", toy)
    async with opened() as pilot:
        await pilot.press("g")
        await until(pilot, lambda: "Sentiment" in text(pilot))
        await pilot.press("end")
        await until(pilot, lambda: "Learn the class of a text." in text(pilot))


async def test_answers_are_kept_as_a_draft_and_found_again(opened: Opened) -> None:
    write_rows(Path("chats.jsonl"), chats())
    async with opened() as pilot:
        await pilot.press("g")
        await until(pilot, lambda: "suggested" in text(pilot))
        await pilot.press("enter", "enter")
        await until(pilot, lambda: on(pilot, ModelQuestion), 60)
        await pilot.press("escape", "escape", "escape")
        await until(pilot, lambda: on(pilot, HomeScreen) and "your draft" in text(pilot))
        await pilot.press("g")
        await until(pilot, lambda: on(pilot, GoalQuestion) and "chats.jsonl" in text(pilot).splitlines()[0])


async def test_eight_keys_from_a_file_to_talking_to_a_better_model(tmp_path: Path) -> None:
    """Real training of the demo model in this process; the keys are counted."""
    write_rows(Path("chats.jsonl"), chats(48))
    store = RunStore(tmp_path / "runs")
    app = TunerApp(store, host_factory=lambda folder, resume: ThreadHost(folder, resume=resume))
    pressed: list[str] = []

    async with app.run_test(size=(80, 24)) as pilot:

        async def press(*keys: str) -> None:
            pressed.extend(keys)
            await pilot.press(*keys)

        await until(pilot, lambda: "Guide me" in text(pilot))
        await press("g", *["enter"] * 5)
        await until(pilot, lambda: on(pilot, GuidePage), 40)
        await press("ctrl+r")
        await until(pilot, lambda: on(pilot, ResultsScreen), 120)  # by itself, at its end
        (folder,) = store.list_runs()
        view = fold_view_events(RunView(), JournalReader(folder.events_path).read_events(1 << 22))
        held = [found for found in view.evaluations if found.stage == "validation"]
        assert held[-1].metrics["loss"] < 0.8 * held[0].metrics["loss"]
        await press("c")
        await until(pilot, lambda: on(pilot, ChatScreen), 60)
    assert len(pressed) == 8
    assert not app.fault_log.file_path.exists(), app.fault_log.file_path.read_text()[-3000:]
