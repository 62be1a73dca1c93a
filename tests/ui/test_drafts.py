"""What is typed into the settings and not started outlives the screen, the process and another workbench."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from tests.ui.conftest import Opened, text, until
from tui_tuner.config.load import find_config_problems
from tui_tuner.runs.store import RunStore
from tui_tuner.ui import drafts, form_values
from tui_tuner.ui.drafts import MOST, DraftKeeper
from tui_tuner.ui.editing.draft_files import find_drafts_folder, read_drafts
from tui_tuner.ui.screens.home import HomeScreen
from tui_tuner.ui.screens.run import RunScreen
from tui_tuner.ui.screens.settings import SettingsScreen

TYPING = (
    "import sys, time\n"
    "from tui_tuner.ui.drafts import DraftKeeper\n"
    "keeper = DraftKeeper()\n"
    "keeper.draft.values.update(method={'rank': 99})\n"
    "keeper.draft.section, keeper.draft.at = 'method', 'method.rank'\n"
    "keeper.note_change()\n"
    "print(keeper.draft.id, flush=True)\n"
    "time.sleep(60)\n"
)


def keep(values: dict[str, Any], **more: Any) -> DraftKeeper:
    """A draft as another start of the workbench has left it."""
    keeper = DraftKeeper()
    keeper.draft.values = values
    for name, value in more.items():
        setattr(keeper.draft, name, value)
    keeper.note_change()
    keeper.flush_draft()
    return keeper


def typing() -> tuple[subprocess.Popen[str], str]:
    """A real process that has typed something, once it is kept."""
    process = subprocess.Popen([sys.executable, "-c", TYPING], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    deadline = time.monotonic() + 20
    while not (find_drafts_folder() / f"{name}.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, name


def test_a_killed_process_leaves_its_draft_and_nobody_else_may_read_it() -> None:
    process, name = typing()
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    (draft,) = read_drafts()
    assert draft.id == name and draft.values == {"method": {"rank": 99}}
    assert (draft.section, draft.at, draft.about) == ("method", "method.rank", ("demo", "sft", "lora"))
    file = find_drafts_folder() / f"{name}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_two_workbenches_do_not_spoil_each_others_drafts() -> None:
    process, name = typing()
    try:
        (theirs,) = read_drafts()
        keeper = DraftKeeper()
        keeper.resume_draft(theirs)
        form_values.set_draft_value(keeper.draft.values, "method.rank", 7)
        keeper.note_change()
        keeper.flush_draft()
        ranks = {draft.id: draft.values["method"]["rank"] for draft in read_drafts()}
        assert ranks == {name: 99, keeper.draft.id: 7}
        keeper.note_run_started()
        assert [draft.id for draft in read_drafts()] == [name]
    finally:
        process.kill()
        process.wait(60)
    gone_on = DraftKeeper()
    gone_on.resume_draft(read_drafts()[0])  # its process is gone: it is this one's now
    assert [draft.id for draft in read_drafts()] == [gone_on.draft.id] != [name]


def test_only_what_was_changed_is_kept_and_only_a_few() -> None:
    keeper = DraftKeeper({"method": {"rank": 8}})
    keeper.note_change()
    keeper.flush_draft()
    assert not read_drafts() and not keeper.is_changed
    form_values.set_draft_value(
        keeper.draft.values, "training.epochs", form_values.find_draft_value({}, "training.epochs")
    )  # its default
    assert not keeper.is_changed
    form_values.set_draft_value(keeper.draft.values, "method.rank", 9)
    keeper.note_change()
    keeper.flush_draft()
    assert len(read_drafts()) == 1
    form_values.set_draft_value(keeper.draft.values, "method.rank", 8)
    keeper.note_change()
    keeper.flush_draft()
    assert not read_drafts()
    for rank in range(MOST + 3):
        keep({"method": {"rank": rank + 100}}, saved=float(rank))
        time.sleep(0.002)
    assert [draft.values["method"]["rank"] for draft in read_drafts()] == list(range(100 + MOST + 2, 102, -1))


def test_a_secret_does_not_get_into_a_draft() -> None:
    keep({"model": {"name": "https://me:secret-word@host/m"}, "data": {"system": "hf_" + "a1" * 20}})
    written = "".join(path.read_text() for path in find_drafts_folder().iterdir())
    assert "secret-word" not in written and "a1a1" not in written and "[secret]" in written


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"values": 3}', b"\xff\xfe\x00", b'{"values": {}, "saved": "x"}', b"[" * 100_000],
)
def test_a_damaged_draft_is_passed_over(damage: bytes) -> None:
    keep({"method": {"rank": 9}})
    (find_drafts_folder() / "1-other.json").write_bytes(damage)
    assert [draft.values for draft in read_drafts()] == [{"method": {"rank": 9}}]


def test_a_folder_that_cannot_be_written_costs_only_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUI_TUNER_CONFIG_DIR", str(tmp_path / "file" / "below"))
    assert keep({"method": {"rank": 9}}).trouble and read_drafts() == []


def test_relative_paths_are_seen_from_where_they_were_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "rows.jsonl").write_text("{}\n")
    monkeypatch.chdir(here)
    keep({"data": {"path": "rows.jsonl"}})
    monkeypatch.chdir(there)
    keeper = DraftKeeper()
    keeper.resume_draft(read_drafts()[0])
    assert keeper.draft.values["data"]["path"] == str(here / "rows.jsonl")


async def type_rank(pilot: Pilot[Any], digits: str) -> None:
    """From the list of sections, its cursor at the top, into method.rank."""
    await pilot.press("down", "down", "down", "enter", "down", "ctrl+k", "ctrl+u", *digits)


async def test_leaving_and_beginning_anew_lose_nothing(store: RunStore, opened: Opened) -> None:
    async with opened() as pilot:
        await pilot.press("n")
        await until(pilot, lambda: "✓ ready" in text(pilot))
        await type_rank(pilot, "99")
        await pilot.press("escape", "escape", "n")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        assert pilot.app.draft == {}  # `n` is new
        await pilot.press("escape")
        await until(pilot, lambda: "✎ your draft" in text(pilot))
        assert "demo · sft · lora, just now" in text(pilot) and "c Continue" in text(pilot)
        await pilot.press("c")
        await until(pilot, lambda: "method.rank" in text(pilot))  # in the field where one was
        assert pilot.app.draft["method"]["rank"] == 99
        await pilot.press("ctrl+o", *["down"] * 3, "enter")  # a preset over it
        await until(pilot, lambda: any("are kept" in said.message for said in pilot.app._notifications))
        assert len(read_drafts()) == 1
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
    async with opened() as pilot:  # the workbench was closed
        await until(pilot, lambda: "✎ your draft" in text(pilot))
        box = pilot.app.screen.query_one("#presets", OptionList)
        assert box.highlighted == 0  # the guide; the draft is below it
        await pilot.press("down", "enter", "ctrl+r")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen), 60)
        (folder,) = store.list_runs()
        assert folder.load_config().method.rank == 99
        assert not read_drafts()  # it is used
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        await until(pilot, lambda: "your draft" not in text(pilot))


async def test_a_draft_of_another_version_is_shown_and_can_be_mended(store: RunStore, opened: Opened) -> None:
    old = {"training": {"epochs": "many", "no_such_thing": 3}, "output": 7, "elsewhere": {"deep": {}}}
    texts = {"gone.field": "x", "method.rank": "5", "method.alpha": "9x"}  # as they were typed
    keep(old, texts=texts, section="nowhere", at="nothing.here")
    assert find_config_problems(old)
    async with opened((120, 40)) as pilot:
        await until(pilot, lambda: "✎ your draft" in text(pilot))
        await pilot.press("c")
        await until(pilot, lambda: "problems" in text(pilot))
        assert pilot.app.draft["method"]["rank"] == 5  # the text is a value by now
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "This version has no settings with these names" in text(pilot))
        assert "no_such_thing" in text(pilot) and "elsewhere" in text(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "✗ 2 problems" in text(pilot))
        for _wrong in range(2):
            await pilot.press("ctrl+r")  # goes to what is left
            await until(pilot, lambda: isinstance(pilot.app.focused, Input))
            assert pilot.app.focused.value in ("many", "9x")  # as it was typed
            await pilot.press("end", "ctrl+u", "9", "escape")
        await until(pilot, lambda: "✓ ready" in text(pilot))


async def test_a_draft_can_be_forgotten(opened: Opened) -> None:
    keep({"method": {"rank": 9}})
    async with opened() as pilot:
        await until(pilot, lambda: "✎ your draft" in text(pilot))
        await pilot.press("down", "delete", "enter")
        await until(pilot, lambda: "your draft" not in text(pilot))
    assert read_drafts() == []


def test_the_file_says_nothing_but_what_the_form_needs() -> None:
    keeper = keep({"method": {"rank": 9}})
    held = json.loads((find_drafts_folder() / f"{keeper.draft.id}.json").read_text())
    assert set(held) == {
        "version", "values", "texts", "name", "section", "at", "folder", "about", "saved"
    }  # fmt: skip
    assert held["folder"] == os.getcwd() and drafts.REST < 1
