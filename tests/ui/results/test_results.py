"""What the results say of a run, and that paths and commands can be copied whole."""

from __future__ import annotations

import math
import os
import shlex
from pathlib import Path

import pytest

from tests.ui import fakes
from tests.ui.conftest import SIZES, Opened, below_verdict, text, until
from tui_tuner.evaluation.remarks import list_remarks
from tui_tuner.runs.events import Evaluation, Event, Finished, Heartbeat, Phase, RunStarted, Sample
from tui_tuner.runs.history import read_run_view
from tui_tuner.runs.journal import JournalWriter
from tui_tuner.runs.phases.time_by_phase import AWAY
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.ui.screen_words import format_screen_number
from tui_tuner.ui.widgets.judged.next_steps import break_shell_command, list_next_steps, shorten_lead_path


def judged(store: RunStore, name: str, losses: dict[int, float], answers: dict[str, list[str]]) -> RunFolder:
    """A run with these held-out losses at these steps, and these answers at these stages."""
    folder = fakes.make_run(store, name, training={"epochs": 12})
    journal = JournalWriter(folder.events_path, name)
    fakes.begin(journal, 40)
    for step, loss in losses.items():
        if step:
            fakes.step(journal, step, 40)
        journal.emit(Evaluation(step, "validation", {"loss": loss, "perplexity": math.exp(loss)}))
    for stage, texts in answers.items():
        for index, said in enumerate(texts):
            journal.emit(Sample(40, index, stage, "prompt", said, "", stage == "after"))
    fakes.finish(journal)
    journal.close()
    return folder


def said(folder: RunFolder) -> list[str]:
    return [remark.text for remark in list_remarks(read_run_view(folder)) if remark.bad]


def test_what_did_not_become_better_is_said_with_its_figures(store: RunStore) -> None:
    worse = judged(store, "worse", {9: 2.31, 30: 2.01, 40: 2.35}, {})
    assert said(worse) == [
        "Loss on held-out rows did not improve: 2.3100 at step 9, 2.3500 at step 40.",
        "Loss was best at step 30: 2.0100. That model is in the folder `best`.",
    ]
    assert said(judged(store, "better", {0: 3.0, 40: 2.0}, {})) == []
    before = judged(store, "from zero", {0: 2.0, 40: 2.5}, {})
    assert said(before) == ["Loss on held-out rows did not improve: 2.0000 before, 2.5000 at step 40."]
    nan = judged(store, "nan", {9: 2.0, 40: math.nan}, {})
    assert said(nan) == ["Loss on held-out rows is not a finite number at step 40."]
    assert said(judged(store, "once", {40: 2.0}, {})) == []


def test_answers_that_are_worth_nothing_are_counted(store: RunStore) -> None:
    flute = "flute " * 214
    found = said(judged(store, "flutes", {}, {"before": ["a", "b", "c"], "after": [flute, "", "c"]}))
    assert found == [
        "1 of 3 answers after training are empty.",
        "1 of 3 answers after training repeat “flute”, 214 times at most.",
    ]
    assert said(judged(store, "same", {}, {"before": ["a", "b"], "after": ["x", "x"]})) == [
        "All 2 answers after training are the same."
    ]
    assert said(judged(store, "unmoved", {}, {"before": ["a", "b"], "after": ["a", "b"]})) == [
        "2 of 2 answers are the same as before training."
    ]
    assert said(judged(store, "good", {}, {"before": ["a", "b"], "after": ["c", "d"]})) == []


@pytest.mark.parametrize("size", SIZES)
async def test_results_say_when_each_metric_was_measured(
    store: RunStore, opened: Opened, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = judged(store, "run", {9: 13.0457, 40: 7.5}, {})
    monkeypatch.chdir(folder.path.parents[1])  # a longer path is cut on a narrow screen, and `y` gives it
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press("v")
        await below_verdict(pilot)
        await until(pilot, lambda: "perplexity" in text(pilot))
        shown = text(pilot)
        assert "at step 9" in shown and "at step 40" in shown and "first →" not in shown
        assert "463," in shown and "463,099." not in shown
        assert "training.epochs=12" in shown or size[1] < 30
        await until(
            pilot,
            lambda: shorten_lead_path(folder.path) in [line.strip() for line in text(pilot).split("\n")],
        )


def test_digits_are_those_that_a_number_deserves() -> None:
    values = {0.27620: "0.2762", 1.69: "1.6900", 38.4751: "38.475", 463099.1466: "463,099", 1234.5: "1,234.5"}
    assert {value: format_screen_number(value) for value in values} == values
    assert (
        format_screen_number(math.nan),
        format_screen_number(math.inf),
        format_screen_number(None),
        format_screen_number(12),
    ) == (
        "nan",
        "inf",
        "–",
        "12",
    )


def event(time: float, body: object) -> Event:
    return Event(body, "run", time=1000.0 + time)  # type: ignore[arg-type]


def test_the_time_of_a_run_is_that_of_its_phases() -> None:
    first = [
        event(0, Phase("loading")),
        event(4, RunStarted(total_steps=9)),
        event(5, Phase("sampling")),
        event(30, Heartbeat()),
        event(52, Phase("training")),
        event(100, Phase("evaluating")),
        event(103, Finished("stopped")),
    ]
    second = [event(103 + 3600, Phase("loading")), event(103 + 3605, Phase("training"))]
    spent = fold_view_events(fold_view_events(RunView(), first[:3]), [*first[3:], *second]).spent
    told = {"loading": 10, "sampling": 47, "training": 48, "evaluating": 3, AWAY: 3600}
    assert spent.seconds == told and spent.total_seconds == 108
    killed = fold_view_events(
        RunView(), [first[0], event(50, Heartbeat()), event(50 + 900, Phase("loading"))]
    ).spent
    assert killed.seconds == {"loading": 50, AWAY: 900}  # nobody wrote for a quarter of an hour


async def test_where_the_time_went_stands_in_the_head(store: RunStore, opened: Opened) -> None:
    folder = fakes.make_run(store, "times")
    journal = JournalWriter(folder.events_path, "times")
    fakes.begin(journal, 1)
    fakes.step(journal, 1, 1)
    fakes.finish(journal)
    journal.close()
    lines = folder.events_path.read_text().splitlines()
    folder.events_path.write_text(
        "\n".join(_at(line, place * 7.0) for place, line in enumerate(lines)) + "\n"
    )
    async with opened((80, 24), open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press("v")
        await below_verdict(pilot)
        await until(pilot, lambda: "took 42 s" in text(pilot))
        shown = text(pilot).replace("\u00a0", " ")
        assert "loading 28 s" in shown and "training 14 s" in shown and "1 of 1 step " in shown


def _at(line: str, seconds: float) -> str:
    import json

    return json.dumps({**json.loads(line), "time": 1000.0 + seconds})


def test_commands_are_broken_between_arguments_only_and_a_shell_reads_them_as_one() -> None:
    path = "/a folder/" + "x" * 90 + "/config.yaml"
    command = f"tui-tuner run {shlex.quote(path)} --set output.name=auto --set training.epochs=12"
    lines = break_shell_command(command, 60)
    assert len(lines) > 2 and all(line.endswith(" \\") for line in lines[:-1])
    assert shlex.split("".join(line.removesuffix("\\") + " " for line in lines)) == shlex.split(command)
    assert any(shlex.quote(path) in line for line in lines)
    assert break_shell_command("tui-tuner attach run", 60) == ["tui-tuner attach run"]


def test_what_to_do_next_has_the_values_that_the_run_had(store: RunStore) -> None:
    folder = judged(store, "twelve", {40: 1.0}, {})
    steps = list_next_steps(folder, read_run_view(folder), "completed", False)
    assert next(step.text for step in steps if "epochs" in step.text).endswith("--set training.epochs=12")
    short = fakes.make_run(store, "short", training={"max_steps": 7})
    steps = list_next_steps(short, RunView(), "stopped", False)
    assert any(step.text.endswith("--set training.max_steps=7") for step in steps)
    assert any(step.text.startswith("tui-tuner resume short") for step in steps)


async def test_a_path_or_command_is_sent_to_the_clipboard_whole(
    store: RunStore, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.root.parent)
    folder = judged(store, "copied", {40: 1.0}, {})
    folder.best_path.mkdir()
    async with opened((80, 24), open_run=folder) as pilot:
        await until(pilot, lambda: "✓ completed" in text(pilot))
        await pilot.press("v")
        await below_verdict(pilot)
        await until(pilot, lambda: str(Path("runs") / "copied") in text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: "What do you want to copy?" in text(pilot))
        await pilot.press("down", "enter")
        await until(pilot, lambda: pilot.app.clipboard == os.path.abspath(folder.best_path))
        assert "Sent to the terminal" in next(iter(pilot.app._notifications)).message
        await pilot.press("y", "down", "down", "enter")
        await until(pilot, lambda: pilot.app.clipboard == "tui-tuner chat copied")
        await pilot.press("y", *["down"] * 6, "enter")
        await until(pilot, lambda: pilot.app.clipboard.startswith("tui-tuner run"))
        assert "runs/copied/config.yaml" in pilot.app.clipboard and "\n" not in pilot.app.clipboard
