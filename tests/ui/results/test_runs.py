"""The list of runs: heads, search, order, tags and notes, the trash, and several runs over one another."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from textual.pilot import Pilot

from tests.ui import fakes, judged_runs
from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.evaluation.run_overlay import find_run_differences, read_overlay
from tui_tuner.runs.notes import change_run_tags, read_notes, set_run_note
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.ui.run_overview import RunOverview, RunRow, read_run_row
from tui_tuner.ui.screens.past.overlay_screen import OverlayScreen
from tui_tuner.ui.widgets.run_list import RunList


def some_runs(store: RunStore) -> None:
    for name, steps, status in (("alpha", 60, "completed"), ("beta", 40, "stopped"), ("gamma", 20, "failed")):
        fakes.write_run(fakes.make_run(store, name, training={"epochs": len(name)}), steps, 60, status)


async def listed(pilot: Pilot[Any]) -> None:
    await until(pilot, lambda: "tui-tuner" in text(pilot))
    await pilot.press("r")
    await until(pilot, lambda: "alpha" in text(pilot) and "newest first" in text(pilot))


def names(pilot: Pilot[Any]) -> list[str]:
    return [found.folder.name for found in pilot.app.screen.query_one("#list", RunList).rows]


@pytest.mark.parametrize("size", SIZES)
async def test_columns_have_heads_that_stand_over_them(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    some_runs(store)
    async with opened(size) as pilot:
        await until(pilot, lambda: "alpha" in text(pilot) and "changed" in text(pilot))  # on the home screen
        await listed(pilot)
        lines = text(pilot).split("\n")
        heads = next(line for line in lines if "state" in line and "run" in line)
        line = next(line for line in lines if "alpha" in line)
        assert heads.index("run ") == line.index("alpha") and heads.index("state") == line.index("✓")
        assert heads.index("step") + 4 == line.index("60/60") + 5
        assert heads.index("loss") + 4 == line.index("1.755") + 5 and "changed" in heads
        assert "3 runs" in text(pilot)


async def test_runs_are_sorted_and_searched_by_state_task_and_tag(store: RunStore, opened: Opened) -> None:
    some_runs(store)
    judged_runs.tagged(store, "delta")
    change_run_tags(store.find_run("beta"), ["good", "keep"])
    set_run_note(store.find_run("gamma"), "too high a rate")
    async with opened((80, 24)) as pilot:
        await listed(pilot)
        await until(pilot, lambda: "#good" in text(pilot))
        await pilot.press("o")
        await until(pilot, lambda: names(pilot) == ["alpha", "beta", "delta", "gamma"])
        assert "by name" in text(pilot) and "run ↓" in text(pilot)
        for words, kept in (
            ("#good", ["beta"]),
            ("failed", ["gamma"]),
            ("token_class", ["delta"]),
            ("high rate", ["gamma"]),
            ("#goo al", []),
        ):
            await pilot.press(
                "slash", "home", "ctrl+k", *("space" if c == " " else c for c in words), "enter"
            )
            await until(pilot, lambda kept=kept: names(pilot) == kept)
        await pilot.press("escape")
        await until(pilot, lambda: len(names(pilot)) == 4)
        await pilot.press("f")
        await until(pilot, lambda: "Which runs are shown?" in text(pilot) and "#keep  1" in text(pilot))
        await pilot.press("end", "enter")
        await until(pilot, lambda: names(pilot) == ["beta"] and "1 of 4 runs" in text(pilot))


@pytest.mark.parametrize("size", SIZES)
async def test_tags_and_notes_are_edited_where_they_are_shown(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    some_runs(store)
    folder = store.find_run("alpha")
    change_run_tags(folder, ["old"])
    async with opened(size) as pilot:
        await listed(pilot)
        await pilot.press("o", "home", "t")
        await until(pilot, lambda: "Tags of alpha" in text(pilot))
        await pilot.press("home", "ctrl+k", *"new", "space", *"#best", "enter")
        await until(pilot, lambda: "#best #new" in text(pilot))
        assert read_notes(folder).tags == ("best", "new")
        await pilot.press("n")
        await until(pilot, lambda: "Note about alpha" in text(pilot))
        await pilot.press(*"calm", "enter")
        await until(pilot, lambda: "calm" in text(pilot))
        await pilot.press("t", "escape", "n", "home", "ctrl+k", "enter")
        await until(pilot, lambda: read_notes(folder).note == "")
        assert read_notes(folder).tags == ("best", "new")


async def test_a_run_goes_to_the_trash_and_comes_back(store: RunStore, opened: Opened) -> None:
    some_runs(store)
    async with opened((80, 24)) as pilot:
        await listed(pilot)
        await pilot.press("o", "home", "space", "space", "delete")
        await until(pilot, lambda: "Move 2 runs to the trash?" in text(pilot))
        await pilot.press("n")
        await until(pilot, lambda: "Move 2" not in text(pilot))
        assert len(names(pilot)) == 3
        await pilot.press("delete", "y")
        await until(pilot, lambda: names(pilot) == ["gamma"])
        assert not store.root.joinpath("alpha").exists() and "marked" not in text(pilot)
        await pilot.press("u")
        await until(pilot, lambda: "Which run should be restored?" in text(pilot))
        await pilot.press("down", "enter")
        await until(pilot, lambda: len(names(pilot)) == 2)


@pytest.mark.parametrize("size", SIZES)
async def test_marked_runs_are_laid_over_one_another(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    some_runs(store)
    async with opened(size) as pilot:
        await listed(pilot)
        await pilot.press("o", "home", "c")
        assert not isinstance(pilot.app.screen, OverlayScreen)  # one run is nothing to compare
        await pilot.press("space", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, OverlayScreen) and "B 40/60" in text(pilot))
        shown = text(pilot)
        chart = shown.split("Differences")[0]
        assert "training loss A, held out a, by step" in chart
        assert {"A", "B", "b"} <= set("".join(line[7:] for line in chart.split("\n")[3:]))
        await pilot.press("z")
        await until(pilot, lambda: "Settings" in text(pilot))
        table = text(pilot)
        await pilot.press("z")
        assert "A ✓ completed  alpha" in table and "B ■ stopped  beta" in table
        assert "A 60/60" in table and "B 40/60" in table
        assert "training.epochs" in table and "A 5" in table and "B 4" in table
        assert "model.name" not in table  # the same in both
        await pilot.press("b")
        await until(pilot, lambda: "by trained tokens" in text(pilot))
        await pilot.press("m")
        await until(pilot, lambda: "held-out loss by trained tokens" in text(pilot))
        await pilot.press("z")
        await until(pilot, lambda: "Differences" in text(pilot).split("\n")[1])
        await pilot.press("Z")
        await until(pilot, lambda: "held-out loss" in text(pilot).split("\n")[1])
        await pilot.press("escape", "escape")
        await until(pilot, lambda: "2 of 3" not in text(pilot) and "1 marked" in text(pilot))


def test_what_differs_is_told_and_damaged_runs_are_left_blank(store: RunStore) -> None:
    some_runs(store)
    alpha, beta = (read_overlay(store.find_run(name)) for name in ("alpha", "beta"))
    settings = dict(find_run_differences([alpha.settings, beta.settings]))
    assert settings == {"training.epochs": ["5.0", "4.0"]}
    assert len(alpha.curves["step"]) == 60 and alpha.curves["tokens"][-1][0] == 60 * 512
    assert alpha.held_out["loss"]["step"][1:3] == [(20.0, _loss(20)), (40.0, _loss(40))]
    store.find_run("gamma").path.joinpath("config.yaml").write_text("{")
    store.find_run("gamma").events_path.write_bytes(b"\xff\x00 no journal\n")
    gone = read_overlay(store.find_run("gamma"))
    assert gone.settings == {} and gone.curves["step"] == [] and gone.held_out == {}


def _loss(step: int) -> float:
    return fakes.loss_at(step) + 0.15


def test_of_many_runs_only_those_that_changed_are_read_again(store: RunStore) -> None:
    some_runs(store)
    for number in range(60):
        shutil.copytree(store.root / "alpha", store.root / f"copy-{number}")
    overview = RunOverview(store)
    first = {found.folder.name: found for found in overview.iterate_rows()}
    change_run_tags(store.find_run("copy-7"), ["changed"])
    (store.root / "copy-8").joinpath("events.jsonl").write_text("")
    shutil.rmtree(store.root / "copy-9")
    second = {found.folder.name: found for found in overview.iterate_rows()}
    again = {name for name, found in second.items() if found is not first[name]}
    assert again == {"copy-7", "copy-8"} and "copy-9" not in second
    assert second["copy-7"].tags == ("changed",) and second["copy-8"].step == 0
    assert first["alpha"] == read_run_row(store.find_run("alpha")) and first["alpha"].task == "sft"


async def test_a_list_that_has_not_changed_draws_nothing(store: RunStore, opened: Opened) -> None:
    some_runs(store)
    async with opened((80, 24)) as pilot:
        await listed(pilot)
        await pilot.pause(0.3)
        runs = pilot.app.screen.query_one("#list", RunList)
        drawn: list[int] = []
        plain = runs.draw_item
        runs.draw_item = lambda index, width: drawn.append(index) or plain(index, width)  # type: ignore
        found = list(runs.rows)
        runs._minute = __import__("time").time() // 60 * 60
        runs.show_rows(list(found))
        await pilot.pause(0.1)
        assert drawn == []
        change_run_tags(found[1].folder, ["x"])
        runs.show_rows([found[0], read_run_row(found[1].folder), found[2]])
        await until(pilot, lambda: "#x" in text(pilot))
        assert set(drawn) == {1}


async def test_a_list_that_is_still_read_says_so_and_not_that_there_are_no_runs(
    store: RunStore, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_runs(store)
    gate, rows = threading.Event(), RunOverview.iterate_rows

    def slowly(self: RunOverview, hosted: RunFolder | None = None) -> Iterator[RunRow]:
        for number, found in enumerate(rows(self, hosted)):
            if number == 2:
                gate.wait(30)
            yield found

    monkeypatch.setattr(RunOverview, "iterate_rows", slowly)
    monkeypatch.setattr("tui_tuner.ui.screens.run_rows._FIRST_SECONDS", 0.0)
    try:
        async with opened((80, 24)) as pilot:
            await until(pilot, lambda: "reading the runs, 2 so far" in text(pilot))
            await pilot.press("r")
            await until(pilot, lambda: "search:" in text(pilot) and "reading the runs" in text(pilot))
            assert "0 runs" not in text(pilot)
            gate.set()
            await until(pilot, lambda: "3 runs · newest first" in text(pilot))
    finally:
        gate.set()
