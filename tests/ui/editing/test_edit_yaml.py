"""A draft edited as YAML and back: taken, refused line by line, undone; configs opened and saved."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static, TextArea

from tests.ui.conftest import Opened, text, until
from tests.ui.editing.test_undo import said
from tui_tuner.config.load import load_config
from tui_tuner.errors import ConfigError
from tui_tuner.runs.store import RunStore
from tui_tuner.ui import form_values
from tui_tuner.ui.drafts import DraftKeeper
from tui_tuner.ui.editing.config_opening import open_config
from tui_tuner.ui.editing.draft_files import find_drafts_folder, hash_draft_text, read_drafts
from tui_tuner.ui.editing.text_check import check_edited_text
from tui_tuner.ui.screens.home import HomeScreen
from tui_tuner.ui.screens.settings import SettingsScreen

PEERS = (
    "model_name_or_path: Qwen/Qwen3-0.6B\nstage: sft\nfinetuning_type: lora\nlora_rank: 8\n"
    "cutoff_len: 2048\nlearning_rate: 1.0e-4\n"
)


@pytest.fixture(autouse=True)
def no_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)


def asked(pilot: Pilot[Any]) -> str:
    """The question of the dialog above, unwrapped: where its lines break depends on a path's length."""
    return " ".join(str(one.render()) for one in pilot.app.screen.query(".dialog Static").results(Static))


async def form_of(pilot: Pilot[Any]) -> None:
    await pilot.press("n")
    await until(pilot, lambda: "✓ ready" in text(pilot))


async def edit(pilot: Pilot[Any], change: Any, key: str = "ctrl+e") -> None:
    """Open the editor that is built in, change its text, and take it over."""
    await pilot.press(key)
    await until(pilot, lambda: bool(pilot.app.screen.query(TextArea)))
    area = pilot.app.screen.query_one(TextArea)
    area.text = change(area.text)
    await pilot.press("ctrl+e")
    await until(pilot, lambda: not pilot.app.screen.query(TextArea))


async def test_an_edit_is_one_step_and_comments_stay(opened: Opened, tmp_path: Path) -> None:
    async with opened() as pilot:
        await form_of(pilot)
        await edit(
            pilot,
            lambda found: (
                "# of mine\n"
                + found.replace("#rank: 16 ", "rank: 44 ").replace("#epochs: 3.0 ", "epochs: 2 ")
            ),
        )
        await until(pilot, lambda: form_values.find_draft_value(pilot.app.draft, "method.rank") == 44)
        await until(pilot, lambda: "✓ ready" in text(pilot))
        await pilot.press("ctrl+z")
        await until(pilot, lambda: form_values.list_differing_values(pilot.app.draft) == {})
        assert "edit as YAML (2 settings)" in said(pilot)
        await pilot.press("ctrl+y")
        await until(pilot, lambda: form_values.find_draft_value(pilot.app.draft, "training.epochs") == 2)

        screen = pilot.app.screen
        assert isinstance(screen, SettingsScreen)
        await screen.take_values({"method.rank": 45, "training.seed": 7})  # the form goes on from there
        await pilot.press("ctrl+e")
        await until(pilot, lambda: bool(pilot.app.screen.query(TextArea)))
        now = pilot.app.screen.query_one(TextArea).text
        assert "# of mine" in now and "rank: 45  " in now and "seed: 7" in now and "#alpha: 32" in now
        await pilot.press("escape")
        await until(pilot, lambda: not pilot.app.screen.query(TextArea))

        file = tmp_path / "kept.yaml"
        file.write_text("old: 1\n")
        file.chmod(0o640)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: bool(pilot.app.screen.query("PathDialog Input")))
        pilot.app.screen.query_one(Input).value = str(file)
        await pilot.press("enter", "y")
        await until(pilot, lambda: "Saved. Run it with" in said(pilot))
        kept = file.read_text()
        assert "# of mine" in kept and "#alpha" not in kept and kept.count("\n") < 40
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
        config = load_config(file)
        assert (config.method.rank, config.training.epochs, config.training.seed) == (45, 2, 7)
        assert not list(tmp_path.glob(".kept*"))
        await pilot.press("ctrl+s")  # offers that file from now on
        await until(pilot, lambda: bool(pilot.app.screen.query("PathDialog Input")))
        assert pilot.app.screen.query_one(Input).value == str(file)
        pilot.app.screen.query_one(Input).value = "/proc/no/such/place.yaml"
        await pilot.press("enter")
        await until(pilot, lambda: "cannot be written" in said(pilot))
        assert pilot.app.screen.query("PathDialog Input")  # to choose another


async def test_mistakes_are_told_with_their_lines(opened: Opened) -> None:
    async with opened() as pilot:
        await form_of(pilot)
        await edit(
            pilot,
            lambda found: (
                found.replace("#rank: 16 ", "rank: many ")
                .replace("#epochs: 3.0 ", "epochz: 2 ")
                .replace("#alpha: 32.0 ", "alpha: 5 ")
            ),
        )
        await until(pilot, lambda: "2 mistakes" in text(pilot))
        shown = text(pilot)
        assert "rank: many" in shown and "epochz: 2" in shown and "Did you mean training.epochs?" in shown
        assert shown.count("line ") >= 2 and "expected a whole number" in shown
        await pilot.press("escape")  # kept as you typed it
        await until(pilot, lambda: "kept as you typed it" in said(pilot))
        pilot.app.drafts.flush_draft()
        (kept,) = read_drafts()
        assert "rank: many" in kept.unread
        await pilot.press("ctrl+e")
        await until(pilot, lambda: bool(pilot.app.screen.query(TextArea)))
        assert "epochz: 2" in pilot.app.screen.query_one(TextArea).text
        await pilot.press("ctrl+e")
        await until(pilot, lambda: "2 mistakes" in text(pilot))
        await pilot.press("e")  # edit again, at the first of them
        await until(pilot, lambda: bool(pilot.app.screen.query(TextArea)))
        area = pilot.app.screen.query_one(TextArea)
        assert "rank: many" in area.document.get_line(area.cursor_location[0])
        await pilot.press("ctrl+e")
        await until(pilot, lambda: "2 mistakes" in text(pilot))
        await pilot.press("t")  # what is right
        await until(pilot, lambda: form_values.list_differing_values(pilot.app.draft) == {"method.alpha": 5})
        assert pilot.app.drafts.draft.unread == ""
        await pilot.press("ctrl+z")
        await until(pilot, lambda: form_values.list_differing_values(pilot.app.draft) == {})

        await edit(pilot, lambda found: found.replace("#rank: 16 ", "rank: many "))
        await until(pilot, lambda: "1 mistake" in text(pilot))
        await pilot.press("f")  # to be mended at its field
        await until(pilot, lambda: "✗ 1 problem" in text(pilot))
        assert isinstance(pilot.app.focused, Input) and pilot.app.focused.value == "many"

        await edit(pilot, lambda found: found + "\nhardware: [1\n")
        await until(pilot, lambda: "Not valid YAML" in text(pilot))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        assert (
            form_values.find_draft_value(pilot.app.draft, "method.rank") == "many"
            and pilot.app.drafts.draft.unread == ""
        )
        await edit(pilot, lambda found: "")
        await until(pilot, lambda: "The text is empty" in text(pilot))
        await pilot.press("t")
        await until(pilot, lambda: form_values.list_differing_values(pilot.app.draft) == {})


def test_a_text_is_read_as_far_as_it_can_be() -> None:
    reading = check_edited_text(
        "task: sft\nmethod:\n  rank: 3\n  alpha: [\ntraining:\n  seed: 5\nmodel: {name: demo\n"
    )
    assert [(wrong.line, wrong.shown) for wrong in reading.wrong] == [
        (4, "alpha: ["),
        (7, "model: {name: demo"),
    ]
    assert reading.values == {"task": "sft", "training": {"seed": 5}} and not reading.whole
    reading = check_edited_text("training:\n  batch_size: 4\n  micro_batch: 8\n  seed: 5\n")
    assert [(wrong.line, wrong.path) for wrong in reading.wrong] == [(3, "training.micro_batch")]
    assert reading.keep_valid_values({})["training"] == {"batch_size": 4, "seed": 5}
    (doubled,) = check_edited_text("task: sft\ntask: sft\n").wrong
    assert doubled.line == 2 and "Duplicate key" in doubled.sentence
    assert (
        check_edited_text("- a\n- b\n").wrong
        and check_edited_text("just words").wrong
        and check_edited_text("\0").wrong
    )
    assert check_edited_text("# nothing\n").wrong == []  # all at its default


async def test_a_file_is_opened_with_its_mistakes_and_saved_over(
    opened: Opened, tmp_path: Path, store: RunStore
) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"prompt": "a", "response": "b"}\n' * 9)
    file = folder / "mine.yaml"
    file.write_text("# of mine\ndata:\n  path: rows.jsonl  # beside\nmethod:\n  rank: 9  # nine\n")
    async with opened(opened=open_config(str(file), store)) as pilot:
        await until(pilot, lambda: "mine.yaml" in text(pilot))
        assert pilot.app.draft["data"]["path"] == str(folder / "rows.jsonl")
        screen = pilot.app.screen
        assert isinstance(screen, SettingsScreen)
        await screen.take_values({"method.rank": 10})
        await pilot.press("ctrl+s", "enter", "y")
        await until(pilot, lambda: "Saved." in said(pilot))
        wanted = "# of mine\ndata:\n  path: rows.jsonl  # beside\nmethod:\n  rank: 10  # nine\n"
        assert file.read_text() == wanted
        await pilot.press("ctrl+s", "enter")  # as it was left here
        await until(pilot, lambda: "exists. Overwrite it?" in asked(pilot))
        await pilot.press("n")
        file.write_text("# of somebody else\n")
        await pilot.press("ctrl+s", "enter")
        await until(pilot, lambda: "has changed since it was opened or saved here" in asked(pilot))
        await pilot.press("n")
        assert file.read_text() == "# of somebody else\n"
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, HomeScreen) and "✎ your draft" in text(pilot))

    peer = tmp_path / "peer.yaml"
    peer.write_text(PEERS)
    async with opened(opened=open_config(str(peer), store)) as pilot:
        await until(pilot, lambda: "6 mistakes" in text(pilot))
        assert "LLaMA-Factory" in text(pilot) and "Here it is model.name" in text(pilot)
        await pilot.press("f")
        await until(pilot, lambda: "✗ 6 problems" in text(pilot))
        assert set(form_values.list_unknown_keys(pilot.app.draft)) >= {"stage", "lora_rank", "cutoff_len"}
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "Leave them out?" in text(pilot))


async def test_beginning_from_something_else_can_be_undone(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("method:\n  rank: 7\n")
    async with opened() as pilot:
        await form_of(pilot)
        screen = pilot.app.screen
        assert isinstance(screen, SettingsScreen)
        await screen.take_values({"method.rank": 3})
        await pilot.press("ctrl+o", "enter")
        await until(pilot, lambda: "Open a config" in text(pilot))
        await pilot.press(*"mine.yaml", "enter")
        await until(pilot, lambda: form_values.find_draft_value(pilot.app.draft, "method.rank") == 7)
        assert "press ^z to go back" in said(pilot) and "mine.yaml" in text(pilot)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "↺ mine.yaml" in text(pilot))
        answers = pilot.app.screen.query_one(OptionList)
        answers.highlighted = answers.get_option_index("preset full-small")
        await pilot.press("enter")
        await until(pilot, lambda: form_values.find_draft_value(pilot.app.draft, "method.kind") == "full")
        await pilot.press("ctrl+z")
        await until(pilot, lambda: form_values.find_draft_value(pilot.app.draft, "method.rank") == 7)
        await pilot.press("ctrl+z")
        await until(pilot, lambda: form_values.list_differing_values(pilot.app.draft) == {"method.rank": 3})
        assert "mine.yaml" not in text(pilot).splitlines()[0]


def test_what_cannot_be_opened_is_said(tmp_path: Path, store: RunStore) -> None:
    (tmp_path / "binary").write_bytes(os.urandom(2000))
    (tmp_path / "empty.yaml").write_text("\n")
    (tmp_path / "words.txt").write_text("once upon a time\nthere was: a, b: c\n")
    (tmp_path / "large.yaml").touch()
    os.truncate(tmp_path / "large.yaml", 50 << 20)
    for name in ("binary", "empty.yaml", "words.txt", "large.yaml", "missing.yaml", ""):
        with pytest.raises(ConfigError) as caught:
            open_config(str(tmp_path / name), store)
        assert str(tmp_path) in caught.value.where and caught.value.exit_code == 2
    with pytest.raises(ConfigError, match="Did you mean demo"):
        open_config("dmo", store)
    assert open_config("demo", store).values["method"]["rank"] == 32


async def test_a_draft_that_cannot_be_kept_is_told_once(opened: Opened, tmp_path: Path) -> None:
    async with opened() as pilot:
        await form_of(pilot)
        find_drafts_folder().parent.mkdir(parents=True, exist_ok=True)
        find_drafts_folder().write_text("in the way")
        screen = pilot.app.screen
        assert isinstance(screen, SettingsScreen)
        for rank in (5, 6):
            await screen.take_values({"method.rank": rank})
            pilot.app.drafts.flush_draft()
            await pilot.pause(0.4)
        told = [note for note in pilot.app._notifications if "cannot be saved" in note.message]
        assert len(told) == 1 and str(find_drafts_folder()) in told[0].message
        find_drafts_folder().unlink()
        await screen.take_values({"method.rank": 7})
        pilot.app.drafts.flush_draft()
        assert pilot.app.drafts.trouble == "" and len(read_drafts()) == 1


def test_older_drafts_open_and_new_ones_hold_the_text() -> None:
    keeper = DraftKeeper()
    keeper.begin_draft({}, "a.yaml", file="/x/a.yaml", yaml="# c\n")
    keeper.draft.unread = "rank: ["
    keeper.draft.known = {"/x/a.yaml": hash_draft_text("# c\n")}
    keeper.note_change()
    keeper.flush_draft()
    (kept,) = read_drafts()
    assert (kept.file, kept.yaml, kept.unread) == ("/x/a.yaml", "# c\n", "rank: [")
    assert kept.known == keeper.draft.known


async def test_a_model_chosen_for_rows_does_not_go_with_those_of_the_demo(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.ui.screens.data_screen import DataScreen

    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "response": "b"}\n' * 9)
    async with opened() as pilot:
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, DataScreen))
        screen = pilot.app.screen
        assert isinstance(screen, DataScreen)
        screen._open_path(str(rows))
        await until(pilot, lambda: "9 rows" in text(pilot))
        screen._model_chosen({"model.name": "my/model"})
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        held = form_values.list_differing_values(pilot.app.draft)
        assert held == {"model.name": "my/model", "data.path": str(rows)}
        assert (
            pilot.app.drafts.undo() is not None and form_values.list_differing_values(pilot.app.draft) == {}
        )
