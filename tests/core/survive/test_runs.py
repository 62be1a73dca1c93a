"""Short versions of the soak benchmark: the real command line, real processes, a real terminal."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.benchmarks.bench_soak import drain
from tests.benchmarks.soak_files import damage_config, damage_folder
from tests.conftest import MakeConfig
from tui_tuner.launch.proof import compare_proof_runs
from tui_tuner.runs.events import Evaluation, Finished, RunStarted, Step
from tui_tuner.runs.journal import JournalReader, JournalWriter
from tui_tuner.runs.store import RunFolder, RunStore

MAIN = [sys.executable, "-c", "from tui_tuner.cli import main; main()"]
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def write_config(make_config: MakeConfig, tmp_path: Path) -> Write:
    def write(**changes: Any) -> Path:
        path = tmp_path / "job.yaml"
        config = make_config(training__report_every=0.001, **changes)
        path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        return path

    return write


def _steps(folder: RunFolder) -> int:
    bodies = [event.body for event in JournalReader(folder.events_path).read_events()]
    return max((body.step for body in bodies if isinstance(body, Step)), default=0)


def _until(true: Callable[[], Any], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_doctor_proves_exact_resume_on_a_config(write_config: Write, tmp_path: Path) -> None:
    path = write_config(method__dropout=0.2, training__batch_size=16)
    done = subprocess.run(
        [*MAIN, "doctor", "--resume", str(path), "--json"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["exact"] and found["differences"] == []
    assert found["steps_compared"] >= found["steps"] == 6 and found["files_compared"] >= 2
    assert 1 <= found["killed_at"][0] <= 4
    assert not list((tmp_path / "runs").glob(".proof-*")) if (tmp_path / "runs").exists() else True


def test_a_difference_in_the_last_bit_is_found(tmp_path: Path) -> None:
    folders = []
    for name, loss, weight in (("a", 0.1 + 0.2, b"w"), ("b", 0.3, b"v")):
        folder = RunFolder(tmp_path / name)
        (folder.last_path).mkdir(parents=True)
        (folder.last_path / "model.safetensors").write_bytes(weight)
        journal = JournalWriter(folder.events_path, name)
        journal.emit(Step(step=1, loss=1.0))
        journal.emit(Step(step=2, loss=loss))
        journal.emit(Evaluation(step=2, metrics={"loss": loss}))
        journal.close()
        folders.append(folder)
    found = compare_proof_runs(*folders)
    assert not found.is_exact
    assert found.differences[0] == "step 2: loss 0.30000000000000004 became 0.3"
    assert "evaluation at step 2" in found.differences[1] and "safetensors differs" in found.differences[2]
    assert compare_proof_runs(folders[0], folders[0]).is_exact


def test_one_line_restarts_a_run_until_it_is_done(write_config: Write, tmp_path: Path) -> None:
    path = write_config(output__name="job", training__max_steps=10, training__batch_size=24)
    command = [*MAIN, "run", str(path), "--no-tui", "--resume-if-possible"]
    folder = RunFolder(tmp_path / "runs" / "job")
    folder.path.mkdir(parents=True)  # as a process leaves it that is killed before it wrote anything
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _until(lambda: _steps(folder) >= 2 or child.poll() is not None, "two steps")
    child.terminate()
    assert child.wait(timeout=60) == 143
    assert folder.find_state() == "stopped"
    changed = yaml.safe_load(path.read_text())
    changed["training"]["learning_rate"] = 0.5
    path.write_text(yaml.safe_dump(changed))
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and folder.find_state() == "completed"
    assert "training.learning_rate" in again.stderr, "a changed config is not passed over in silence"
    events = JournalReader(folder.events_path).read_events()
    resumed = [event.body.resumed_from for event in events if isinstance(event.body, RunStarted)]
    assert resumed[0] is None and resumed[1] >= 2
    assert [event.seq for event in events] == list(range(len(events)))
    size = folder.events_path.stat().st_size
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert folder.events_path.stat().st_size == size, "a completed run is left alone"


def test_a_dropped_terminal_does_not_end_the_run(write_config: Write, tmp_path: Path) -> None:
    import pty

    path = write_config(output__name="job", training__max_steps=40, training__batch_size=48)
    folder = RunFolder(tmp_path / "runs" / "job")
    leader, terminal = pty.fork()
    if leader == 0:
        os.environ["TERM"] = "xterm-256color"
        words = f'{sys.executable} -c "from tui_tuner.cli import main; main()" run {path}; sleep 300'
        os.execvp("sh", ["sh", "-c", words])
    try:
        _until(lambda: (drain(terminal), _steps(folder) >= 2)[1], "two steps")
        assert folder.find_state() == "running"
        os.kill(leader, signal.SIGKILL)  # the shell: the terminal hangs up on everything that is on it
        os.close(terminal)
        _until(lambda: folder.find_state() != "running", "the end")
        assert folder.find_state() == "completed"
        assert _steps(folder) == 40
    finally:
        os.kill(leader, signal.SIGKILL)
        os.waitpid(leader, 0)


def test_fuzzed_configs_end_in_words(tmp_path: Path) -> None:
    chance = random.Random(1)
    problems = [damage_config(tmp_path, chance) for _ in range(60)]
    assert [problem for problem in problems if problem] == []


def test_damaged_run_folders_are_looked_at_without_a_traceback(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    folder = RunStore(tmp_path / "runs").create_run(make_config(output__name="r"))
    journal = JournalWriter(folder.events_path, "r")
    journal.emit(RunStarted(total_steps=9, config={}, device="cpu"))
    for step in range(1, 10):
        journal.emit(Step(step=step, loss=1.0 / step, seconds=0.1, learning_rate=1e-3))
    journal.emit(Evaluation(step=9, metrics={"loss": 1.0}))
    journal.emit(Finished(status="completed", exit_code=0))
    journal.close()
    checkpoint = folder.checkpoints_path / "step-9"
    checkpoint.mkdir(parents=True)
    (checkpoint / "files.json").write_text('{"step": 9, "files": {}}')
    folder.log_path.write_text("a line\n")
    folder.claim_run()
    chance = random.Random(2)
    for _ in range(150):
        problem = damage_folder(folder, tmp_path / "damaged", chance, None)
        assert not problem, problem
