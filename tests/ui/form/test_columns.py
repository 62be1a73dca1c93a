"""Which column is what, by keys alone: the lists, many columns, odd names, and the rows below."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import OptionList

from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.ui import form_values
from tui_tuner.ui.screens.columns import ColumnsDialog
from tui_tuner.ui.screens.data_screen import DataScreen
from tui_tuner.ui.screens.settings import SettingsScreen

ODD = "q\x1b[31mred"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Thirty columns of which none has a name that is known."""
    rows = [
        {**{f"col{n}": f"value {n} of {row}" for n in range(29)}, "last": f"the end of {row}"}
        for row in range(9)
    ]
    return write(tmp_path / "wide.jsonl", rows)


async def ask(pilot: Any, path: Path) -> ColumnsDialog:
    """Look at a file, and say which column is what."""
    pilot.app.draft = {"data": {"path": str(path)}}
    pilot.app.open_data()
    await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen) and pilot.app.screen.judged)
    await pilot.press("c")
    await until(pilot, lambda: isinstance(pilot.app.screen, ColumnsDialog) and pilot.app.screen.table)
    await until(pilot, lambda: focus(pilot) == "roles")
    return pilot.app.screen


def focus(pilot: Any) -> str:
    return pilot.app.focused.id or "" if pilot.app.focused is not None else ""


def under(dialog: ColumnsDialog, name: str) -> str:
    option = dialog.query_one(f"#{name}", OptionList).highlighted_option
    return option.id or "" if option is not None else ""


@pytest.mark.parametrize("size", SIZES)
async def test_the_last_of_thirty_columns(opened: Opened, wide: Path, size: tuple[int, int]) -> None:
    async with opened(size=size) as pilot:
        dialog = await ask(pilot, wide)
        await pilot.press("home", "down")
        assert under(dialog, "roles") == "prompt"
        await pilot.press("right")
        assert focus(pilot) == "columns"
        await pilot.press("end")
        assert "last" in text(pilot)  # the list has followed
        await pilot.press("enter")
        await until(pilot, lambda: dialog.roles.get("prompt") == "last" and focus(pilot) == "roles")
        if under(dialog, "roles") == "response":
            await pilot.press("enter", "home", "down", "enter")
        await until(pilot, lambda: under(dialog, "roles") == "use")
        await until(pilot, lambda: "user: the end of 0" in text(pilot))
        assert "Esc back" in text(pilot)  # what the keys are stands in sight
        await pilot.press("escape")  # nothing was taken
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
        assert form_values.find_draft_value(pilot.app.draft, "data.columns") is None


async def test_other_rows_are_shown_on_a_key(opened: Opened, wide: Path) -> None:
    async with opened() as pilot:
        dialog = await ask(pilot, wide)
        await until(pilot, lambda: "user: value 0 of 0" in text(pilot))
        await pilot.press("n", "n")
        await until(pilot, lambda: "Row 3 as it would be read" in text(pilot) and "of 2" in text(pilot))
        await pilot.press("p")
        await until(pilot, lambda: "Row 2 as it would be read" in text(pilot) and "of 1" in text(pilot))
        await pilot.press("p", "p", "p")
        await until(pilot, lambda: "Row 1 as it would be read" in text(pilot) and "of 0" in text(pilot))
        await pilot.press(*"nnnnnnnnnnnn")  # there are nine
        await until(pilot, lambda: "Row 9 as it would be read" in text(pilot) and "of 8" in text(pilot))
        assert focus(pilot) == "roles" and isinstance(dialog, ColumnsDialog)


async def test_left_and_escape_lead_back_to_the_roles(opened: Opened, wide: Path) -> None:
    async with opened() as pilot:
        dialog = await ask(pilot, wide)
        await pilot.press("right")  # of "use these columns" there is none to be picked
        assert focus(pilot) == "roles"
        await pilot.press("home", "down", "enter")
        assert focus(pilot) == "columns"
        await pilot.press("left")
        assert focus(pilot) == "roles"
        await pilot.press("right", "escape")
        assert focus(pilot) == "roles" and pilot.app.screen is dialog
        await pilot.press("backspace")
        await until(pilot, lambda: "needed" in text(pilot))
        await pilot.press("end", "enter")  # not whole: it leads to what lacks
        assert pilot.app.screen is dialog and under(dialog, "roles") == "prompt"


async def test_names_with_control_characters(opened: Opened, tmp_path: Path) -> None:
    path = write(
        tmp_path / "odd.jsonl", [{ODD: f"ask {n}", "a\nb": "ok", "[b]x[/b]": "no"} for n in range(9)]
    )
    async with opened() as pilot:
        dialog = await ask(pilot, path)
        assert "\x1b" not in text(pilot) and "[b]x[/b]" in text(pilot)
        await until(pilot, lambda: under(dialog, "roles") == "use")
        await pilot.press("enter")
        await until(
            pilot, lambda: isinstance(pilot.app.screen, DataScreen) and "9 rows: 9 kept" in text(pilot)
        )
        assert form_values.find_draft_value(pilot.app.draft, "data.columns") == {
            "prompt": ODD,
            "response": "a\nb",
        }


async def test_one_of_two_candidates_from_the_form(opened: Opened, tmp_path: Path) -> None:
    path = write(
        tmp_path / "two.jsonl", [{"question": f"{n}?", "answer": "fine", "response": "no"} for n in range(9)]
    )
    async with opened() as pilot:
        pilot.app.draft = {"data": {"path": str(path)}}
        pilot.app.open_settings()
        await until(pilot, lambda: "several columns could be" in text(pilot))
        assert "ready" not in text(pilot)
        await pilot.press("f4", "down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ColumnsDialog) and pilot.app.screen.table)
        dialog = pilot.app.screen
        await until(pilot, lambda: focus(pilot) == "roles")
        await pilot.press("home", "down", "down", "enter", "up", "enter")
        await until(pilot, lambda: "assistant: fine" in text(pilot) and under(dialog, "roles") == "use")
        await pilot.press("enter")
        await until(
            pilot, lambda: isinstance(pilot.app.screen, SettingsScreen) and "✓ ready" in text(pilot), 20
        )
        assert form_values.find_draft_value(pilot.app.draft, "data.columns") == {
            "prompt": "question",
            "response": "answer",
        }
        await pilot.press("ctrl+z")
        await until(pilot, lambda: "several columns could be" in text(pilot))


async def test_turns_with_keys_of_their_own(opened: Opened, tmp_path: Path) -> None:
    rows = [
        {"dialog": [{"speaker": "user", "utterance": f"hi {n}"}, {"speaker": "assistant", "utterance": "ho"}]}
        for n in range(9)
    ]
    async with opened() as pilot:
        dialog = await ask(pilot, write(tmp_path / "turns.jsonl", rows))
        assert dialog.roles == {"messages": "dialog"}
        await until(pilot, lambda: "user: hi 0" in text(pilot) and "assistant: ho" in text(pilot))
