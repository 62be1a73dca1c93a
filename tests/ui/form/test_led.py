"""What leads somewhere in the form: a refused start to its field, a tiny model to what it learns with."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.ui import fakes
from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.runs.store import RunStore
from tui_tuner.ui import form_values, start_checking
from tui_tuner.ui.screens.fixing import FixesDialog
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.start_checking import Refusal

TAGS = {"task": "token_classification", "data": {"path": "demo"}, "method": {"kind": "full"}}


@pytest.fixture
def slow_check(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until it is set, nobody knows whether a run can be started; then that it cannot."""
    known = threading.Event()

    def check(values: Any) -> Refusal:
        known.wait(20)
        return Refusal("model.name", "no such folder.")

    monkeypatch.setattr(start_checking, "check_start", check)
    return known


def here(pilot: Any) -> str:
    screen = pilot.app.screen
    return screen._focused_path if isinstance(screen, SettingsScreen) else ""


@pytest.mark.parametrize("moved", [False, True])
async def test_a_refused_start_takes_no_hand_away(
    opened: Opened, slow_check: threading.Event, moved: bool
) -> None:
    async with opened() as pilot:
        pilot.app.draft = {"data": {"path": "demo"}, "model": {"name": "/nowhere"}}
        pilot.app.open_settings()
        await until(pilot, lambda: "checking" in text(pilot) and pilot.app.focused is not None)
        await pilot.press("down", "enter", "ctrl+r")
        await until(pilot, lambda: "then starting" in text(pilot) and here(pilot) == "data.path")
        if moved:
            await pilot.press("down")
            assert here(pilot) not in ("", "data.path")
        before = here(pilot)
        slow_check.set()
        await until(pilot, lambda: "✗ no such folder" in text(pilot))
        if moved:
            assert here(pilot) == before
            notes = [note.message for note in pilot.app._notifications]
            assert notes == ["The run was not started: no such folder."]
        else:
            await until(pilot, lambda: here(pilot) == "model.name")


async def test_a_start_takes_no_dialog_away(
    opened: Opened, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = threading.Event()
    monkeypatch.setattr(start_checking, "check_start", lambda values: known.wait(20) and None)
    async with opened() as pilot:
        pilot.app.draft = {"data": {"path": "demo"}}
        pilot.app.open_settings()
        await until(pilot, lambda: "checking" in text(pilot) and pilot.app.focused is not None)
        await pilot.press("ctrl+r", "question_mark")
        await until(pilot, lambda: not isinstance(pilot.app.screen, SettingsScreen))
        above = pilot.app.screen
        known.set()
        await until(pilot, lambda: any("can be started" in one.message for one in pilot.app._notifications))
        assert pilot.app.screen is above and not list(store.list_runs())
        await pilot.press("escape", "ctrl+r")
        await until(pilot, lambda: len(list(store.list_runs())) == 1)


@pytest.mark.parametrize("size", SIZES)
async def test_what_a_tiny_model_learns_with_is_told_and_offered(
    opened: Opened, tmp_path: Path, size: tuple[int, int]
) -> None:
    async with opened(size=size) as pilot:
        pilot.app.draft = {**TAGS, "model": {"name": "tin"}, "training": {"learning_rate": 5e-5}}
        pilot.app.open_settings()
        screen = pilot.app.screen
        await until(pilot, lambda: screen.focused is not None)
        await screen._go_to_field("model.name")
        await pilot.press("end", "y")
        await until(pilot, lambda: "Random weights need" in text(pilot))
        assert "f4 Fix" in text(pilot)
        assert (
            form_values.find_draft_value(pilot.app.draft, "training.learning_rate") == 5e-5
        )  # nothing is changed unasked
        await pilot.press("f4")
        await until(pilot, lambda: isinstance(pilot.app.screen, FixesDialog))
        await pilot.press("enter")
        await until(
            pilot, lambda: form_values.find_draft_value(pilot.app.draft, "training.learning_rate") == 1e-3
        )
        assert form_values.find_draft_value(pilot.app.draft, "training.epochs") == 8
        await until(pilot, lambda: "Random weights need" not in text(pilot))
        assert here(pilot) == "model.name"
        await pilot.press("ctrl+z")
        await until(
            pilot, lambda: form_values.find_draft_value(pilot.app.draft, "training.learning_rate") == 5e-5
        )


@pytest.mark.parametrize(
    ("output", "field", "words"),
    [
        ({"folder": "rows.txt"}, "output.folder", "is a file, not a folder"),
        ({"folder": "rows.txt/runs"}, "output.folder", "a run cannot be stored here"),
        ({"name": "taken"}, "output.name", "a run of this name exists"),
    ],
)
async def test_where_no_run_can_be_kept_nothing_is_ready(
    opened: Opened, store: RunStore, tmp_path: Path, output: dict[str, str], field: str, words: str
) -> None:
    (tmp_path / "rows.txt").write_text("not empty")
    fakes.make_run(store, "taken")
    if "folder" in output:
        output = {"folder": str(tmp_path / output["folder"])}
    async with opened() as pilot:
        pilot.app.draft = {"data": {"path": "demo"}, "output": output}
        pilot.app.open_settings()
        await until(pilot, lambda: "Output ✗1" in text(pilot))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: here(pilot) == field)
        assert words in " ".join(text(pilot).split())


async def test_a_model_that_nobody_has_seen_is_not_called_ready(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    async with opened() as pilot:
        pilot.app.draft = {"data": {"path": "demo"}, "model": {"name": "nobody/nothing-xyz"}}
        pilot.app.open_settings()
        await until(pilot, lambda: "^r downloads the model, then starts" in text(pilot))
        assert "ready" not in text(pilot)
