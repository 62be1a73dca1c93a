"""Run folders that version 0.1 wrote still open, show and resume, with the losses they would have had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Trained
from tui_tuner.runs.history import read_run_view, summarise_run
from tui_tuner.runs.store import RunFolder, RunStore

FIXTURE = Path(__file__).parents[1] / "fixtures" / "runs-0.1"
STATES = {
    "completed-sft": "completed",
    "killed-sft": "lost",
    "stopped-pretraining": "stopped",
    "stopped-padded": "stopped",
    "failed-diverged": "failed",
}
RESUMED = ("killed-sft", "stopped-pretraining", "stopped-padded")


@pytest.fixture
def runs(tmp_path: Path) -> RunStore:
    """The fixture, where it may be written to, with its own place filled in."""
    folder = tmp_path / "runs-0.1"
    shutil.copytree(FIXTURE, folder)
    for path in folder.rglob("*"):
        if path.suffix in (".yaml", ".json", ".jsonl", ".md") and path.is_file():
            text = path.read_text(encoding="utf-8")
            if "@FOLDER@" in text:
                path.write_text(text.replace("@FOLDER@", str(folder)), encoding="utf-8")
    return RunStore(folder)


def folder_of(runs: RunStore, name: str) -> RunFolder:
    return RunFolder(runs.root / name)


def test_they_are_listed_with_their_states(runs: RunStore) -> None:
    assert {run.name: run.find_state() for run in runs.list_runs()} == STATES
    for run in runs.list_runs():
        row = summarise_run(run)
        assert row["state"] == STATES[run.name] and row["task"] in ("sft", "pretraining")
    completed = summarise_run(folder_of(runs, "completed-sft"))
    assert completed["step"] == 8 and completed["best"] == pytest.approx(5.5, abs=0.5)


def test_their_journals_show_what_happened(runs: RunStore) -> None:
    view = read_run_view(folder_of(runs, "completed-sft"))
    assert [point.step for point in view.steps] == list(range(1, 9))
    assert [point.step for point in view.evaluations if "loss" in point.metrics] == [4, 8]
    assert {sample.stage for sample in view.samples} == {"before", "during", "after"}
    diverged = read_run_view(folder_of(runs, "failed-diverged"))
    assert diverged.steps[-1].grad_norm is None, "a null of an old journal is no number"
    assert diverged.status == "failed" and "gradient norm is nan" in diverged.message


@pytest.mark.parametrize("name", RESUMED)
def test_they_resume_with_the_losses_of_a_run_that_was_not_interrupted(
    runs: RunStore, name: str, train: Callable[..., Trained]
) -> None:
    folder = folder_of(runs, name)
    resumed = train(folder.load_config(), resume=folder)
    assert resumed.outcome.status == "completed", resumed.outcome
    whole = json.loads((FIXTURE / "losses.json").read_text(encoding="utf-8"))[name]
    found = resumed.steps()
    assert min(found) in (7, 8) and max(found) == len(whole)
    # written on another processor, perhaps: equal to the last bit on the one that wrote them
    assert [found[step] for step in sorted(found)] == pytest.approx(whole[min(found) - 1 :], abs=1e-4)
    assert (folder.last_path / "tokenizer.json").is_file()
