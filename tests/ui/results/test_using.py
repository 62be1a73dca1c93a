"""From a run's end to its use: keys that lead on, and a real model used on a real file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from tests.conftest import MakeConfig, Trained, write_jsonl
from tests.ui import fakes, judged_runs
from tests.ui.conftest import SIZES, Opened, text, until
from tui_tuner.inference.leads import format_leads, list_leads
from tui_tuner.inference.origin import Origin
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.ui.app import TunerApp
from tui_tuner.ui.screens.ask import AskScreen
from tui_tuner.ui.screens.settings import SettingsScreen
from tui_tuner.ui.screens.using import prediction_jobs
from tui_tuner.ui.screens.using.predict_screen import PredictScreen


def test_what_makes_no_sense_for_a_task_is_not_offered(store: RunStore, monkeypatch: Any) -> None:
    monkeypatch.chdir(store.root.parent)
    writes, finds = fakes.make_run(store, "writes"), fakes.make_run(store, "finds", task="question_answering")
    assert list_leads(writes, writes.load_config().task_kind) == []  # there is no model yet
    for folder in (writes, finds):
        folder.last_path.mkdir()
    assert [lead.key for lead in list_leads(writes, writes.load_config().task_kind)] == ["c", "b", "u", "e"]
    assert [lead.key for lead in list_leads(finds, finds.load_config().task_kind)] == ["a", "u", "e"]
    assert format_leads(writes, writes.load_config().task_kind)[0] == "Talk to it: tui-tuner chat writes"
    assert (
        "tui-tuner predict finds FILE -o OUT.jsonl" in format_leads(finds, finds.load_config().task_kind)[-2]
    )


@pytest.mark.parametrize("size", SIZES)
async def test_results_lead_on_by_keys(store: RunStore, opened: Opened, size: tuple[int, int]) -> None:
    folder = judged_runs.classified(store)
    folder.best_path.mkdir(exist_ok=True)
    async with opened(size, open_run=folder) as pilot:
        await until(pilot, lambda: "u use it on a file" in text(pilot))  # on the live pane, once it has ended
        await pilot.press("v")
        await until(pilot, lambda: "a ask it about a text" in text(pilot))
        shown = text(pilot)
        assert "talk to it" not in shown and "compare with base" not in shown
        footer = shown.splitlines()[-1]
        assert "u Use" in footer and "s Run again" in footer and footer.rstrip().endswith("? Help")
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen))


async def test_a_stopped_run_is_asked_by_its_checkpoint(store: RunStore, opened: Opened) -> None:
    folder = judged_runs.classified(store)
    folder.best_path.rmdir()
    folder.last_path.rmdir()
    (folder.checkpoints_path / "step-2").mkdir(parents=True)
    async with opened(open_run=folder) as pilot:
        await until(pilot, lambda: "u use it on a file" in text(pilot))
        await pilot.press("v")
        await until(pilot, lambda: "a ask it about a text" in text(pilot))
        assert "a Ask" in text(pilot).splitlines()[-1]
        await pilot.press("a")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskScreen))


@pytest.fixture
def classes(make_config: MakeConfig, train: Callable[..., Trained], tmp_path: Path) -> RunFolder:
    rows = [{"text": f"row {n} is good", "label": ("no", "yes")[n % 2]} for n in range(40)]
    data = write_jsonl(tmp_path / "labelled.jsonl", rows)
    run = train(make_config(task="classification", data__path=str(data), training__max_steps=2))
    assert run.outcome.status == "completed", run.outcome
    return run.folder


async def test_a_model_is_used_on_a_file(classes: RunFolder, tmp_path: Path) -> None:
    rows = write_jsonl(
        tmp_path / "rows.jsonl", [{"n": n, "one": f"row {n}", "two": "x y"} for n in range(30)]
    )
    app = TunerApp(RunStore(classes.path.parent), open_run=classes)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "u use it on a file" in text(pilot))
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, PredictScreen) and app.screen.focused is not None)
        app.screen.query_one("#path", Input).value = str(rows)
        await pilot.press("enter")
        await until(pilot, lambda: "Press F4 to assign" in text(pilot), 60)  # two columns could be the text
        await pilot.press("f4")
        await until(pilot, lambda: "Which role do you" in text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "Which column is the text?" in text(pilot))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Press ^r to start" in text(pilot) and "text ← one" in text(pilot), 60)
        assert "row 7" not in text(pilot) and "row 3" in text(pilot)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "Newest predictions" in text(pilot))
        await pilot.press("escape")  # it goes on meanwhile
        assert not isinstance(app.screen, PredictScreen)
        await pilot.press("u")
        await until(pilot, lambda: "✓ 30 rows are in" in text(pilot), 120)
        await pilot.press("y")
        out = Path(app.clipboard)
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["n"] for row in told] == list(range(30))
    assert all(row["prediction"]["label"] in ("no", "yes") and row["one"] for row in told)
    assert not app.fault_log.file_path.exists()


async def test_a_job_that_was_left_comes_back_with_its_prompt(
    store: RunStore, opened: Opened, tmp_path: Path
) -> None:
    writes = fakes.make_run(store, "writes")
    fakes.write_run(writes, 40, 40, "completed")
    writes.best_path.mkdir()
    rows, prompt = write_jsonl(tmp_path / "rows.jsonl", [{"q": "why"}]), tmp_path / "prompt.txt"
    prompt.write_text("Say: {q}\n")
    origin = Origin("run", "writes", str(writes.path), "best")
    async with opened() as pilot:
        pilot.app.push_screen(PredictScreen(origin))
        await pilot.pause()
        fields = {
            "path": str(rows),
            "out": str(tmp_path / "out.jsonl"),
            "prompt": str(prompt),
            "labels": "a,b",
        }
        for name, value in fields.items():
            pilot.app.screen.query_one(f"#{name}", Input).value = value
        await pilot.press("ctrl+r")
        job = prediction_jobs.find_job(pilot.app, origin.list_origin_values())
        assert job is not None and job.values["prompt"] == "Say: {q}"
        job.stop_job()
        await until(pilot, lambda: not job.standing.on, 60)
        await pilot.press("escape")
        pilot.app.push_screen(PredictScreen(origin))
        await until(pilot, lambda: isinstance(pilot.app.screen, PredictScreen) and text(pilot) != "")
        await pilot.pause()
        again = {name: pilot.app.screen.query_one(f"#{name}", Input).value for name in fields}
        assert again == fields  # the same is asked when it is gone on with
