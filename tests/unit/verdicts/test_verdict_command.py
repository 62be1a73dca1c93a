"""`tui-tuner verdict`, as scripts and people call it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.ui import fakes
from tests.unit.verdicts.made import falls, make_run
from tests.unit.verdicts.test_odd import write
from tui_tuner.cli.command_list import app
from tui_tuner.verdicts.verdict_words import VERDICTS


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    store = fakes.store_at(tmp_path)
    folder = fakes.make_run(store, "coats")
    write(folder.events_path, make_run(falls(3, 1.5, 6), falls(3, 1.55, 6), config={"task": "sft"}))
    return store.root


def test_a_verdict_as_json_and_for_people(runs: Path) -> None:
    for name in ("coats", "last", str(runs / "coats"), str(runs / "coats" / "events.jsonl")):
        said = CliRunner().invoke(app, ["verdict", name, "--json", "--runs", str(runs)])
        assert said.exit_code == 0, said.output
        found = json.loads(said.stdout)
        assert list(found)[:4] == ["verdict", "since_step", "evidence", "advice"]
        assert found["verdict"] == "good" and found["since_step"] is None and found["step"] == 120
        assert all(isinstance(one, str) for one in found["evidence"])
        assert all(set(one) == {"words", "values"} for one in found["advice"])
    said = CliRunner().invoke(app, ["verdict", "coats", "--runs", str(runs)])
    assert VERDICTS["good"].label in said.stdout and "row by row over 60 rows" in said.stdout


def test_errors_say_what_to_do(runs: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "other.jsonl"
    foreign.write_text('{"text": "a row"}\n')
    for name, said in ((str(foreign), "not the journal of a run"), ("hats", "no run 'hats'")):
        done = subprocess.run(
            [sys.executable, "-m", "tui_tuner", "verdict", name, "--json", "--runs", str(runs)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and said in done.stderr
        assert "tui-tuner runs" in json.loads(done.stdout)["error"]["hint"]
