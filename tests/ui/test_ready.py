""" "Ready" is true: what the task cannot use is refused before a run, and each way out is a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from tests.ui import fakes
from tests.ui.conftest import Opened, text, until
from tui_tuner.errors import DataError
from tui_tuner.launch.run_host import host_run
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.ui import datalook, form_values
from tui_tuner.ui.screens.columns import ColumnsDialog
from tui_tuner.ui.screens.data_screen import DataScreen
from tui_tuner.ui.screens.fixing import FixesDialog
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.start_checking import check_start, convert_run_to_refusal


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """Rows that supervised fine-tuning cannot use as they are."""
    return write(tmp_path / "compared.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 30)


@pytest.fixture
def german(tmp_path: Path) -> Path:
    """Columns that no format knows."""
    rows = [{"nr": n, "frage": f"Was ist {n}?", "antwort": f"{n} [b]", "lob": "gut"} for n in range(30)]
    return write(tmp_path / "german.jsonl", rows)


@pytest.mark.parametrize(
    ("method", "fix"),
    [
        ({"layers": 99}, {"method.layers": 3}),
        ({"kind": "freeze", "layers": 99}, {"method.layers": 3}),
        ({"targets": ["q_proj", "foo"]}, {"method.targets": "all-linear"}),
    ],
)
def test_layers_that_a_model_has_not_are_refused_before_a_run(
    method: dict[str, Any], fix: dict[str, Any]
) -> None:
    refusal = check_start({"data": {"path": "demo"}, "method": method})
    assert refusal is not None and refusal.fixes == (fix,) and refusal.field == next(iter(fix))
    mended = {**method, **{name.removeprefix("method."): value for name, value in fix.items()}}
    assert check_start({"data": {"path": "demo"}, "method": mended}) is None
    # what a method does not read hinders nothing
    assert check_start({"data": {"path": "demo"}, "method": {"kind": "full", "layers": 99}}) is None


async def test_a_key_is_named_only_where_it_offers_something(opened: Opened, tmp_path: Path) -> None:
    async with opened() as pilot:
        pilot.app.draft = {"data": {"path": "demo"}, "model": {"name": str(tmp_path / "nowhere")}}
        pilot.app.open_settings()
        await until(pilot, lambda: "no such folder" in text(pilot))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "Give the folder" in text(pilot))
        assert "Press F4 to choose" not in text(pilot)
        pilot.app.pop_screen()
        pilot.app.draft = {"data": {"path": "demo"}, "method": {"layers": 99}}
        pilot.app.open_settings()
        await until(pilot, lambda: "99 is more than" in text(pilot))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "Press F4 to choose" in text(pilot))
        await pilot.press("f4", "enter")
        await until(pilot, lambda: "✓ ready" in text(pilot))
        assert pilot.app.draft["method"]["layers"] == 3


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("empty.jsonl", b"", "data.path"),
        ("blank.jsonl", b"\n\n", "data.path"),
        ("no rows.json", b"[]", "data.path"),
        ("broken.jsonl", b"not json\n{nor this\n", "data.path"),
        ("broken.parquet", b"PAR1 and nothing else", "data.path"),
        ("unknown.csv", b"a1,b2\nx,y\n", "data.columns"),
        ("classes.csv", b"text,label\ngood film,1\nbad film,0\n", "data.path"),
        ("words.txt", b"only text\n\nand more\n", "data.path"),
        ("no answer.jsonl", b'{"prompt": "a", "response": ""}\n' * 9, "data.columns"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_its_field(
    tmp_path: Path, name: str, content: bytes, field: str
) -> None:
    (tmp_path / name).write_bytes(content)
    refusal = check_start({"data": {"path": str(tmp_path / name)}})
    assert refusal is not None and refusal.field == field and refusal.sentence
    assert "--set" not in refusal.sentence + refusal.advice
    assert str(tmp_path) not in refusal.sentence  # the place first would push the reason off the screen
    for fix in refusal.fixes[:1]:
        values: dict[str, Any] = {"data": {"path": str(tmp_path / name)}}
        for path, value in fix.items():
            form_values.set_draft_value(values, path, value)
        assert check_start(values) is None, fix


@pytest.mark.parametrize(
    ("name", "content", "seen"),
    [
        ("missing.jsonl", None, False),
        ("empty.jsonl", b"", False),
        ("no rows.json", b"[]", False),
        ("broken.jsonl", b"not json\n{nor this\n", False),
        ("broken.parquet", b"PAR1 and nothing else", False),
        ("unknown.csv", b"a1,b2\nx,y\n", True),
        ("words.txt", b"only text\n\nand more\n", True),
        ("compared.jsonl", b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 9, True),
        ("half broken.jsonl", b'{"messages": [{"role": "user", "content": "a"}]}\nnot json\n', True),
    ],
)
async def test_what_rows_are_is_asked_only_where_some_can_be_looked_at(
    store: RunStore, tmp_path: Path, opened: Opened, name: str, content: bytes | None, seen: bool
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    run = fakes.make_run(store, "refused", data={"path": str(path)})
    host_run(run, CommandReceiver(run.control_path))
    refusals = [check_start({"data": {"path": str(path)}}), convert_run_to_refusal(view_of(run))]
    async with opened() as pilot:
        for refusal in refusals:
            assert refusal is not None and refusal.is_fixable
            await pilot.app.push_screen(FixesDialog(refusal, {}))
            words = text(pilot)
            assert ("Assign the columns" in words, "Choose the record format" in words) == (seen, seen)
            assert "Look at the data" in words
            pilot.app.pop_screen()
    if seen:
        assert datalook.read_raw_table({}, str(path)).columns
    else:
        with pytest.raises(DataError):
            datalook.read_raw_table({}, str(path))


def view_of(run: RunFolder) -> RunView:
    return fold_view_events(RunView(), JournalReader(run.events_path).read_events(1 << 20))


def test_kept_counts_rows_that_the_task_can_use(tmp_path: Path, compared: Path) -> None:
    write(tmp_path / "a.jsonl", [{"prompt": str(n), "response": "b"} for n in range(20)])
    found: list[datalook.RowCensus] = []
    datalook.count_draft_rows(
        {}, str(tmp_path), found.append, lambda: False
    )  # both files: only the first row is usable
    last = found[-1]
    assert (last.read, last.outcomes["kept"], last.outcomes["dropped"]) == (50, 20, 30)
    assert last.refusal is not None and "compared.jsonl" in last.refusal.sentence
    datalook.count_draft_rows({}, str(tmp_path / "a.jsonl"), found.append, lambda: False)
    assert found[-1].outcomes["kept"] == 20 and found[-1].refusal is None


def joined(pilot: Pilot[Any]) -> str:
    """What stands in the panel of help, which at 120 columns is on the right, without its line breaks."""
    return " ".join(pilot.app.screen.query_one("#explanation").render().plain.split())


async def type_path(pilot: Pilot[Any], path: Path) -> None:
    await pilot.press("n")
    await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
    await pilot.press("down", "enter")
    await until(pilot, lambda: isinstance(pilot.app.focused, Input))
    pilot.app.focused.value = str(path)


async def test_the_form_refuses_and_one_key_mends_it(store: RunStore, compared: Path, opened: Opened) -> None:
    async with opened() as pilot:
        await type_path(pilot, compared)
        await pilot.pause()
        seen: list[str] = []

        def refused() -> bool:
            seen.append(text(pilot))
            return "Data ✗1" in seen[-1]

        await until(pilot, refused)
        assert not any("✓ ready" in shown for shown in seen)
        await until(pilot, lambda: "✗ compared.jsonl:1: these rows" in text(pilot).splitlines()[0])
        sentence = "these rows are chosen and rejected answers, which task sft cannot use."
        await until(
            pilot, lambda: "✗ compared.jsonl:1: " + sentence in joined(pilot) and "f4 Fix" in text(pilot)
        )
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "checking" not in text(pilot))
        await pilot.pause(0.3)
        assert isinstance(pilot.app.screen, SettingsScreen) and not list(store.list_runs())
        await pilot.press("f4")
        await until(pilot, lambda: "What to do" in text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "✓ ready" in text(pilot))
        assert pilot.app.draft["data"]["columns"] == {"prompt": "prompt", "response": "chosen"}


async def test_columns_are_picked_from_two_lists(german: Path, opened: Opened) -> None:
    async with opened() as pilot:
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.focused, Input))
        pilot.app.focused.value = str(german)
        await pilot.press("enter")
        await until(pilot, lambda: "is not recognised" in text(pilot))
        assert "--set" not in text(pilot)
        await pilot.press("u")  # refuses, and offers
        await until(pilot, lambda: "Assign the columns" in text(pilot))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "← frage" in text(pilot))
        dialog = pilot.app.screen
        assert isinstance(dialog, ColumnsDialog)
        roles = dialog.query_one("#roles", OptionList)
        roles.highlighted = roles.get_option_index("response")
        await pilot.press("delete")
        await until(pilot, lambda: "needed" in text(pilot))
        await pilot.press("enter")
        columns = dialog.query_one("#columns", OptionList)
        columns.highlighted = 3  # no column, nr, frage, antwort
        await pilot.press("enter")
        await until(pilot, lambda: "assistant: 0 [b]" in text(pilot))  # the first row as it would be read
        assert roles.highlighted_option.id == "use"
        await pilot.press("enter")
        await until(pilot, lambda: "30 rows: 30 kept" in text(pilot))
        assert pilot.app.draft["data"] == {
            "path": str(german),
            "format": "prompt_response",
            "columns": {"prompt": "frage", "response": "antwort"},
        }
        await pilot.press("f")  # a format that is not theirs
        await until(pilot, lambda: "How are the rows laid out?" in text(pilot))
        pilot.app.screen.query_one(OptionList).highlighted = 2
        await pilot.press("enter")
        await until(pilot, lambda: "do not look like sharegpt" in text(pilot))


async def test_the_focus_stays_with_a_hand_that_types(tmp_path: Path, opened: Opened) -> None:
    rows = write(tmp_path / "rows.jsonl", [{"prompt": str(n), "response": "b"} for n in range(20)])
    async with opened(config={"data": {"path": str(rows), "format": "alpaca"}}) as pilot:
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
        screen = pilot.app.screen
        first = pilot.app.focused
        await until(pilot, lambda: screen.refusal is not None or screen.look is not None)
        await pilot.pause()
        assert pilot.app.focused is first  # reading has not moved it
        path = screen.query_one("#path", Input)
        screen._open_path(str(rows))
        screen.set_focus(path)
        path.value = ""
        await pilot.press("u", "m", "x")
        await until(pilot, lambda: screen.refusal is not None or screen.look is not None)
        await pilot.press("y")
        assert pilot.app.focused is path and path.value == "umxy" and pilot.app.screen is screen


def test_what_was_said_of_one_file_is_not_said_of_another() -> None:
    draft = {"task": "sft", "data": {"path": "a", "format": "alpaca", "columns": {"a": "b"}, "limit": 3}}
    assert datalook.make_path_draft(draft, "a") == draft
    assert datalook.make_path_draft(draft, "b") == {"task": "sft", "data": {"path": "b", "limit": 3}}
    assert datalook.make_path_draft({"data": {"format": "alpaca"}}, "b")["data"]["format"] == "alpaca"
    assert datalook.make_path_draft({"data": 3}, "b") == {"data": {"path": "b"}}
