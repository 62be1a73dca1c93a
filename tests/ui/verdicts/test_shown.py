"""Verdicts on the screen: while a run goes on, in lists, among the results, and the way to the next run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.content import Content
from textual.pilot import Pilot

from tests.ui import fakes
from tests.ui.conftest import SIZES, Opened, text, until
from tests.ui.snapshots.stage import StillHost
from tests.ui.verdicts import runs
from tui_tuner.headless import LinePrinter
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.journal import JournalReader, JournalWriter
from tui_tuner.runs.store import RunStore
from tui_tuner.training.session import run_training
from tui_tuner.ui.app import TunerApp
from tui_tuner.ui.screen_words import render_run_state
from tui_tuner.ui.screens.dialogs import ChoiceDialog, ConfirmDialog
from tui_tuner.ui.screens.results import ResultsScreen
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.widgets.changed_lines import Lines
from tui_tuner.verdicts.verdict_words import VERDICTS


def colour(content: Content) -> str:
    (span,) = content.spans
    return str(span.style)


def toasts(pilot: Pilot[Any]) -> str:
    return "\n".join(note.message for note in pilot.app._notifications)


@pytest.mark.parametrize("word", VERDICTS.values(), ids=VERDICTS)
def test_a_useless_result_is_never_complete_in_green(word: Any) -> None:
    shown = render_run_state("completed", verdict=word.name)
    sign, style = {1: ("✓", "$success"), 0: ("~", "$foreground"), -1: ("!", "$warning")}[word.worth]
    assert shown.plain == f"{sign} completed · {word.label.lower()}" and colour(shown) == style
    assert colour(render_run_state("stopped", verdict=word.name)) == "$warning"
    assert render_run_state("running", verdict=word.name).plain == "● running"


@pytest.mark.parametrize("size", SIZES)
async def test_results_begin_with_the_verdict_and_make_the_next_config(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = runs.nothing_learnt(store)
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "! completed · nothing learnt" in text(pilot))
        await pilot.press("v")
        await until(pilot, lambda: "What to change" in text(pilot))
        shown = " ".join(text(pilot).split())
        for said in (
            "! Nothing learnt very sure: 98 % of draws agree",
            "Not better than before, or than guessing, by more than chance.",
            "1 Take a lower learning rate. training.learning_rate = 0.0002",
            "f4 Fix",
        ):
            assert said in shown
        assert "✓ completed" not in text(pilot)
        await pilot.press("f4")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        tuner: Any = pilot.app
        assert tuner.draft["training"]["learning_rate"] == 2e-4 and "name" not in tuner.draft.get(
            "output", {}
        )
        assert "training.learning_rate = 0.0002 (was 0.05)" in toasts(pilot)
        await until(pilot, lambda: "0.0002" in text(pilot))
        await pilot.press("ctrl+z")
        await until(pilot, lambda: tuner.draft["training"]["learning_rate"] == 0.05)
        assert "what the verdict on shuffled advises" in toasts(pilot)


async def test_a_key_is_offered_only_where_a_setting_helps(store: RunStore, opened: Opened) -> None:
    found = replace(runs.NOTHING, advice=[runs.MORE_ROWS])
    folder = runs.judged(store, "few", found, {0: 3.65, 50: 3.66, 100: 3.64})
    async with opened(SIZES[1], open_run=folder) as pilot:
        await until(pilot, lambda: "! Nothing learnt" in text(pilot))
        assert not {"F4", "f4"} & set(text(pilot).split())
        await pilot.press("v")
        await until(pilot, lambda: "1 Gather more rows." in text(pilot))
        assert "What to do:" in text(pilot) and not {"F4", "f4"} & set(text(pilot).split())


@pytest.mark.parametrize("size", SIZES)
async def test_of_several_pieces_of_advice_one_is_chosen(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    folder = runs.overfitted(store)
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "~ completed · overfitting" in text(pilot))
        await pilot.press("f4")  # from the live pane as well
        await until(pilot, lambda: isinstance(pilot.app.screen, ChoiceDialog))
        assert "Gather more rows" not in text(pilot)  # no setting does that
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))
        tuner: Any = pilot.app
        assert tuner.draft["method"]["rank"] == 4 and "max_steps" not in tuner.draft.get("training", {})
        assert tuner.drafts.draft.section == "method"


async def test_a_run_that_overfits_says_where_to_stop_and_draws_it_once(store: RunStore) -> None:
    folder, journal = runs.begun(store, "live", {0: 3.65, 20: 2.0, 40: 1.62, 60: 1.95})
    app = TunerApp(store, host_factory=StillHost, open_run=folder, train=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "● running" in text(pilot))
        line = app.screen.query_one("#verdict", Lines)
        assert not line.display
        journal.emit(runs.OVERFIT)
        said = "! Overfitting since step 40: that is the best checkpoint  x stop here"
        await until(pilot, lambda: said in text(pilot))
        drawn: list[Any] = []
        refresh = line.refresh

        def counted(*regions: Any, **more: Any) -> Any:
            drawn.append(regions)
            return refresh(*regions, **more)

        line.refresh = counted  # type: ignore[method-assign]
        for number in range(61, 64):
            fakes.step(journal, number, 100)
        await until(pilot, lambda: "step 63" in text(pilot))
        assert drawn == []  # the rest of the pane has changed, this line has not
        journal.emit(replace(runs.OVERFIT, verdict="unstable", since_step=62))
        await until(pilot, lambda: "! Unstable since step 62" in text(pilot) and "x stop here" in text(pilot))
        assert drawn
        journal.emit(runs.OVERFIT)
        await until(pilot, lambda: said in text(pilot))
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        assert "were best at step 40" in " ".join(text(pilot).replace("│", " ").split())
        await pilot.press("y")
        assert app.host is not None
        await until(pilot, lambda: not app.host.is_alive)  # told to stop
        journal.close()
    assert not app.fault_log.file_path.exists()


@pytest.mark.parametrize("size", SIZES)
async def test_lists_tell_what_runs_are_worth(store: RunStore, opened: Opened, size: tuple[int, int]) -> None:
    runs.nothing_learnt(store, "bad")
    runs.judged(store, "fine", runs.GOOD, {0: 3.65, 100: 1.49})
    runs.judged(store, "old", None, {0: 3.65, 100: 1.49})
    async with opened(size) as pilot:
        await until(pilot, lambda: "bad" in text(pilot))
        wide = size[0] > 100
        told = ("! nothing learnt", "✓ good fit")
        if wide:
            told = ("! completed · nothing learnt", "✓ completed · good fit")
        for said in (*told, "✓ completed"):  # of the last one nobody knows more
            assert said in text(pilot)
        await pilot.press("r")
        await until(pilot, lambda: "newest first" in text(pilot) and "old" in text(pilot))
        await pilot.press("slash", *"nothing")
        await until(pilot, lambda: "1 of 3 runs" in text(pilot))
        assert "! completed · nothing learnt   loss" in text(pilot) or wide
        assert "fine" not in text(pilot)


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_of_an_older_version_is_judged_among_its_results(
    store: RunStore, opened: Opened, size: tuple[int, int]
) -> None:
    losses = {0: 3.65, **{step: 3.65 - step / 60 for step in range(10, 101, 10)}}
    folder = runs.judged(store, "old", None, losses, rows=0, training={"max_steps": 100})
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press("v")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsScreen) and "sure" in text(pilot), 30)
        screen: Any = pilot.app.screen
        assert screen._judged_view.verdict.final and screen._judged_view.verdict.verdict in VERDICTS
        assert VERDICTS[screen._judged_view.verdict.verdict].label in text(pilot)
        assert f"completed · {VERDICTS[screen._judged_view.verdict.verdict].label.lower()}" in text(pilot)


async def test_a_verdict_that_fails_is_not_waited_for(
    store: RunStore, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ResultsScreen, "_judge_journal", lambda _self: None)  # never comes to an end
    folder = runs.judged(store, "old", None, {0: 3.0, 50: 2.0, 100: 1.0}, rows=0, training={"max_steps": 100})
    async with opened(open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press("v")
        await until(pilot, lambda: "Reading the curves" in text(pilot))
        screen: Any = pilot.app.screen
        screen.work_failed("judging", "NameError")  # as the guard tells it
        await until(pilot, lambda: "Reading the curves" not in text(pilot))
        assert "Measured" in text(pilot)


async def test_the_demo_at_three_hundred_times_its_rate_does_not_end_in_green(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = fakes.make_run(
        store,
        "hot",
        model={"name": "demo"},
        data={"path": "demo", "limit": 120, "validation": 0.1, "workers": 1},
        training={"learning_rate": 0.9, "max_steps": 8, "batch_size": 4},
        evaluation={"samples": 0, "every": 2},
        hardware={"devices": "cpu"},
    )
    journal = JournalWriter(folder.events_path, folder.name)
    outcome = run_training(folder.load_config(), folder, journal, CommandReceiver(folder.control_path))
    journal.close()
    assert outcome.status == "completed", outcome
    app = TunerApp(store, open_run=folder)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "completed · " in text(pilot))
        found = app.follow_run(folder).view.verdict
        assert found is not None and found.final and VERDICTS[found.verdict].worth < 1
        shown = render_run_state("completed", verdict=found.verdict)
        assert shown.plain in text(pilot) and "✓ completed" not in text(pilot) and colour(shown) != "$success"
        await pilot.press("escape")
        await until(pilot, lambda: VERDICTS[found.verdict].label.lower() in text(pilot))
        assert "✓ completed" not in text(pilot)
    label = VERDICTS[found.verdict].label
    assert f"**{label}" in (folder.last_path / "README.md").read_text()
    lines: list[str] = []
    LinePrinter(lines.append, folder).feed_events(JournalReader(folder.events_path).read_events())
    assert lines[-1][10:].startswith(f"completed · {label.lower()}")
    assert not app.fault_log.file_path.exists()
