"""Choosing a file by keys alone, over real folders."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.ui import recent_paths
from tui_tuner.ui.screens.file_dialog import FileDialog
from tui_tuner.ui.screens.home import HomeScreen
from tui_tuner.ui.widgets.paths.folder_listing import (
    DATA_SUFFIXES,
    FolderEntry,
    FolderNames,
    split_typed_path,
)
from tui_tuner.ui.widgets.paths.path_picker import PathPicker


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "work"
    (root / "deep" / "deeper").mkdir(parents=True)
    (root / "empty").mkdir()
    for name in ("share_one.json", "share_two.json", "notes.pdf", ".hidden.json"):
        (root / name).write_text("{}")
    (root / "deep" / "only.jsonl").write_text("{}\n")
    monkeypatch.chdir(root)
    return root


def chooser(pilot: Pilot[Any], start: str = "", **more: Any) -> list[str | None]:
    """Open a chooser; what it gives comes into the list."""
    given: list[str | None] = []
    pilot.app.push_screen(FileDialog("Choose", start, (".json", ".jsonl"), **more), given.append)
    return given


def picker(pilot: Pilot[Any]) -> PathPicker:
    return pilot.app.screen.query_one(PathPicker)


async def listed(pilot: Pilot[Any]) -> None:
    await until(
        pilot, lambda: isinstance(pilot.app.screen, FileDialog) and pilot.app.screen.query(PathPicker)
    )
    await until(
        pilot, lambda: picker(pilot).path_field.names is not None and not picker(pilot).path_list.awaits
    )


@pytest.mark.parametrize("size", SIZES)
async def test_tab_completes_as_far_as_it_can_and_then_leads_to_the_list(
    folder: Path, opened: Opened, size: tuple[int, int]
) -> None:
    async with opened(size) as pilot:
        given = chooser(pilot)
        await listed(pilot)
        await pilot.press("s", "h", "tab")
        assert picker(pilot).path_field.value == "share_"
        await pilot.press("tab")
        assert picker(pilot).path_list.has_focus
        await pilot.press("down", "enter")
        await until(pilot, lambda: given)
        assert given == [str(folder / "share_two.json")]
        await until(pilot, lambda: recent_paths.list_recent_paths("data") == given)


async def test_up_into_and_what_is_dimmed_hidden_or_empty(folder: Path, opened: Opened) -> None:
    async with opened() as pilot:
        given = chooser(pilot, "deep/")
        await listed(pilot)
        await pilot.press("down")
        await pilot.press("left")
        await until(pilot, lambda: "notes.pdf" in text(pilot))
        paths = picker(pilot).path_list
        items = [paths.get_item(index) for index in range(paths.count)]
        assert items[paths.cursor].shown == "deep/"  # where one came from
        assert picker(pilot).path_field.value.endswith("/work/deep/")  # the field follows the cursor
        assert {item.shown for item in items if not item.suited} == {"notes.pdf"}
        assert ".hidden.json" not in text(pilot)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "is empty." in text(pilot))
        await pilot.press("backspace")
        await until(pilot, lambda: "notes.pdf" in text(pilot))
        await pilot.press(".")  # typed in the list, it goes on in the field
        await until(pilot, lambda: ".hidden.json" in text(pilot))
        await pilot.press("h", "end")
        assert picker(pilot).path_field.value.endswith("/work/.hidden.json")  # the suggestion was taken
        await pilot.press("enter")
        await until(pilot, lambda: given == [str(folder / ".hidden.json")])


async def test_names_that_terminals_fear_and_things_that_are_no_files(folder: Path, opened: Opened) -> None:
    names = [b"bad\x1b[2Jname.json", b"new\nline.json", b"\xff\xfe.json", "שלום.json".encode(), b"x" * 250]
    for name in names:
        (Path(os.fsdecode(os.path.join(os.fsencode(folder / "empty"), name)))).write_text("{}")
    os.mkfifo(folder / "empty" / "pipe.json")
    (folder / "empty" / "link.json").symlink_to("nowhere")
    (folder / "empty" / "loop").symlink_to("loop")
    async with opened() as pilot:
        given = chooser(pilot, "empty/")
        await listed(pilot)
        shown = text(pilot)
        assert "bad␛[2Jname.json" in shown and "new↵line.json" in shown and "\x1b" not in shown
        assert shown.count("broken link") == 2 and "not a file" in shown
        await pilot.press("l", "i", "n", "tab", "enter")
        await until(pilot, lambda: "is a broken link" in text(pilot))
        await pilot.press("ctrl+u", *"empty/pi", "tab", "enter")
        await until(pilot, lambda: "is a pipe or a device" in text(pilot))
        assert not given
        await pilot.press("ctrl+u", *"empty/bad", "tab")
        await until(pilot, lambda: picker(pilot).path_field.value == "empty/bad\x1b[2Jname.json")
        await pilot.press("enter")
        await until(pilot, lambda: given == [str(folder / "empty" / "bad\x1b[2Jname.json")])


async def test_a_folder_that_cannot_be_read_and_a_path_that_leads_nowhere(
    folder: Path, opened: Opened
) -> None:
    async with opened() as pilot:
        given = chooser(pilot, "missing/")
        await until(pilot, lambda: "cannot be read: No such" in text(pilot))
        await pilot.press("ctrl+u", *"share_on.json?", "enter")
        await until(pilot, lambda: "There is no share_on.json?" in text(pilot))
        assert "Did you mean share_one.json?" in text(pilot)
        assert picker(pilot).path_field.has_focus and picker(pilot).path_field.value == "share_on.json?"
        await pilot.press("escape")
        await until(pilot, lambda: given == [None])
        assert isinstance(pilot.app.screen, HomeScreen)


async def test_a_folder_that_never_answers_is_waited_for_and_left(
    folder: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, real = threading.Event(), os.scandir

    def slow(path: Any) -> Any:
        if str(path).endswith("/deep"):
            answered.wait(60)
        return real(path)

    monkeypatch.setattr(os, "scandir", slow)
    async with opened() as pilot:
        given = chooser(pilot)
        await listed(pilot)
        await pilot.press(*"deep/")
        await until(pilot, lambda: "Reading " in text(pilot) and "/deep…" in text(pilot))
        await pilot.press("o", "n", "tab")  # obeyed once it is there
        answered.set()
        await until(pilot, lambda: picker(pilot).path_field.value == "deep/only.jsonl")
        answered.clear()
        await pilot.press("ctrl+u")
        await until(pilot, lambda: "share_one" in text(pilot))
        await pilot.press(*"deep/", "escape")
        await until(pilot, lambda: given == [None])
        answered.set()


async def test_a_folder_of_a_hundred_thousand_names(folder: Path, opened: Opened) -> None:
    crowded = [FolderEntry(f"row-{number:06}.json", "file") for number in range(100_000)]
    async with opened() as pilot:
        chooser(pilot)
        await listed(pilot)
        found = picker(pilot)
        found.path_field.post_message(
            type(found.path_field).Listed(found.path_field.folder, FolderNames(crowded))
        )
        await until(pilot, lambda: "100,000 names" in text(pilot))
        await pilot.press("down", "end")
        await until(pilot, lambda: "row-099999.json" in text(pilot))
        await pilot.press("ctrl+home", "0", "9", "9", "9", "9")
        await until(pilot, lambda: "11 of 100,000 names" in text(pilot))


def test_data_files_are_those_that_can_be_read() -> None:
    from tui_tuner.data.sources.files import KINDS

    assert set(DATA_SUFFIXES) == {*KINDS, ".zip"}


def test_names_are_completed_as_a_shell_does() -> None:
    kinds = {"Data": "folder", "data.json": "file", "dato": "file", ".dot": "file"}
    names = FolderNames([FolderEntry(name, kind) for name, kind in kinds.items()])
    assert names.complete_name("da") == "dat" and names.complete_name("D") == "Data/"
    assert names.complete_name("data") == "data.json"
    assert names.complete_name(".") == ".dot" and names.complete_name("zzz") == "zzz"
    assert [one.name for one in names.list_fitting("ATO")] == ["dato"]
    assert split_typed_path("~") == ("~/", "") and split_typed_path("a/..") == ("a/../", "")
    assert split_typed_path(".b") == ("", ".b")
