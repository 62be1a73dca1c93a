"""`tui-tuner guide`: from a file of answers to a config and a model that is better, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import chat_rows, write_jsonl
from tui_tuner.cli import main
from tui_tuner.config.load import load_config
from tui_tuner.runs.events import HeldOutRows
from tui_tuner.runs.store import RunStore
from tui_tuner.runs.wire import decode_event_line

ROOT = Path(__file__).parents[4]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tui-tuner", "guide", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_from_answers_to_a_model_that_is_better(place: Path) -> None:
    write_jsonl(place / "rows.jsonl", chat_rows(60))
    (place / "answers.yaml").write_text("task: style\ndata: rows.jsonl\nmodel: demo\nmachine: cpu\n")
    arguments = ["guide", "--answers", "answers.yaml", "-o", "config.yaml", "--no-tui"]
    arguments += ["--set", "evaluation.samples=0"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tui_tuner", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("The plan")
    assert load_config(place / "config.yaml").data.path == str(place / "rows.jsonl")
    folder = RunStore(place / "runs").find_run("last")
    events = [decode_event_line(line) for line in folder.events_path.read_bytes().splitlines()]
    held = [event.body for event in events if event and isinstance(event.body, HeldOutRows)]
    better = np.array(held[0].losses) - np.array(held[-1].losses)
    assert len(better) == 12 and held[-1].step > held[0].step == 0
    assert better.mean() - 2.2 * better.std(ddof=1) / np.sqrt(len(better)) > 0  # Student's, of 12 rows


def test_a_config_is_written_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(place / "rows.jsonl", chat_rows(20))
    (place / "a.yaml").write_text("data: rows.jsonl\nmodel: demo\nbudget: 1 h\n")
    asked = ("--answers", "a.yaml", "--dry-run", "-o", "c.yaml")
    assert command(monkeypatch, *asked, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["can_start"] and told["answers"]["budget"] == "1 h"
    assert {"field", "value", "why"} == set(told["settings"][0])
    assert load_config("c.yaml").task == "sft" and not (place / "runs").exists()
    assert command(monkeypatch, *asked) == 2
    assert "--force" in capsys.readouterr().err
    assert command(monkeypatch, *asked, "--force") == 0


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ("tsk: a\n", 2, "a.yaml:1"),
        ("data: demo\njudge: blue\n", 2, "a.yaml:2"),
        ("data: none.jsonl\n", 3, "none.jsonl"),
        ("data: demo\nmodel: ./none\n", 2, "none"),
    ],
)
def test_what_cannot_be_is_refused(
    answers: str,
    code: int,
    words: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (place / "a.yaml").write_text(answers)
    assert command(monkeypatch, "--answers", "a.yaml", "--dry-run", "-o", "c.yaml") == code
    told = capsys.readouterr()
    assert words in told.out + told.err and not (place / "c.yaml").exists()


def test_without_answers_and_without_a_terminal_it_says_how(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch) == 2
    assert "--answers FILE.yaml" in capsys.readouterr().err
    assert command(monkeypatch, "--dry-run") == 2
