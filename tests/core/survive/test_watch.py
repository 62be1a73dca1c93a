"""The watchdog, what a lost run says when it goes on, crashes in libraries, and what watching costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig, Recorder, Trained
from tui_tuner.config.schema import RunConfig
from tui_tuner.launch.run_host import host_run
from tui_tuner.launch.watchdog import Watchdog
from tui_tuner.runs import ballast
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.events import CheckpointSaved, Finished, Heartbeat, Phase, Step, Warned
from tui_tuner.runs.journal import JournalReader, JournalWriter
from tui_tuner.runs.store import RunStore


def _until(true: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stall_is_said_with_the_stack_of_every_thread(tmp_path: Path) -> None:
    sink, go_on = Recorder(), threading.Event()

    def standing_still_here() -> None:
        go_on.wait(30)

    thread = threading.Thread(target=standing_still_here)
    thread.start()
    with Watchdog(sink, tmp_path, least=0.3, factor=2.0, look=0.02) as watchdog:
        watchdog.emit(Phase(name="training"))
        watchdog.emit(Step(step=7, seconds=0.01))
        watchdog.emit(Heartbeat(step=7))
        _until(lambda: sink.of("warning"))
        (warning,) = sink.of("warning")
        assert warning["code"] == "stalled" and "after step 7" in warning["message"]
        (stacks,) = tmp_path.glob("stacks-*.txt")
        assert stacks.name in warning["hint"]
        text = stacks.read_text()
        assert "standing_still_here" in text and f"pid {os.getpid()}" in text
        watchdog.emit(Step(step=8, seconds=0.01))
        _until(lambda: sink.of("log"))
        assert "continuing" in sink.of("log")[0]["message"]
    go_on.set()
    thread.join()


def test_slow_steps_and_pauses_are_no_stalls(tmp_path: Path) -> None:
    sink = Recorder()
    with Watchdog(sink, tmp_path, least=0.05, factor=20.0, look=0.01) as watchdog:
        for step in range(3):
            watchdog.emit(Step(step=step, seconds=1.0))
        assert watchdog.compute_limit() == 20.0
        time.sleep(0.2)
    assert sink.of("warning") == []
    with Watchdog(sink, tmp_path, least=0.05, look=0.01) as watchdog:
        watchdog.emit(Phase(name="paused"))
        time.sleep(0.2)
        watchdog.emit(Phase(name="training"))
    assert sink.of("warning") == [] and list(tmp_path.iterdir()) == []


def test_a_filling_disk_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Recorder()
    with Watchdog(sink, tmp_path, look=0.01) as watchdog:
        watchdog.emit(CheckpointSaved(step=3, bytes=2**62))
        _until(lambda: sink.of("warning"))
        time.sleep(0.1)
    assert [warning["code"] for warning in sink.of("warning")] == ["disk_low"]


def test_watching_costs_less_than_a_hundredth_of_a_quick_step(tmp_path: Path) -> None:
    """The dearest part is the journal line itself; a step of a small model on CPU takes 20 ms and more."""
    journal = JournalWriter(tmp_path / "events.jsonl", "r")
    fields = {"epoch": 0.5, "loss": 1.25, "learning_rate": 1e-4, "grad_norm": 0.7, "supervised_tokens": 900}
    count = 3000
    with Watchdog(journal, tmp_path) as watchdog:
        start = time.process_time()
        for step in range(count):
            watchdog.emit(Step(step=step, seconds=0.02, **fields))
        each = (time.process_time() - start) / count
    journal.close()
    assert each < 0.01 * 0.02, f"{each * 1e6:.0f} us for each step"


def test_a_crash_in_a_library_leaves_its_stack_in_the_log(tmp_path: Path) -> None:
    folder = RunStore(tmp_path).create_run(RunConfig.model_validate({"output": {"name": "r"}}))
    code = (
        "import sys, os, signal; from pathlib import Path\n"
        "from tui_tuner.runs.store import RunFolder; from tui_tuner.launch.run_host import _log_crashes\n"
        "def inside_a_library(): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "with _log_crashes(RunFolder(Path(sys.argv[1]))): inside_a_library()\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(folder.path)], capture_output=True, check=False)
    assert child.returncode == -signal.SIGSEGV
    log = folder.log_path.read_text()
    assert "Segmentation fault" in log and "inside_a_library" in log


def test_a_lost_run_that_goes_on_says_why_it_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tui_tuner.training import session

    folder = RunStore(tmp_path).create_run(RunConfig.model_validate({"output": {"name": "r"}}))
    code = (
        "import sys, os; from pathlib import Path; from tui_tuner.launch.lock import hold_lock\n"
        "from tui_tuner.runs.store import RunFolder; from tui_tuner.runs.journal import JournalWriter\n"
        "from tui_tuner.runs.events import RunStarted\n"
        "folder = RunFolder(Path(sys.argv[1]))\n"
        "with hold_lock(folder):\n"
        "    JournalWriter(folder.events_path, 'r').emit(RunStarted(total_steps=3))\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder.path)], check=False)
    assert folder.find_state() == "lost"
    manifest = folder.read_manifest()
    manifest["vital_signs"]["oom_kills_group"] = -1  # as if the counter had grown since
    folder.write_file("manifest.json", json.dumps(manifest))

    def run(config: Any, folder: Any, sink: Any, control: Any, resume: bool, ranks: Any) -> Any:
        sink.emit(Finished(status="completed", exit_code=0))
        return session.Outcome("completed", 0)

    monkeypatch.setattr(session, "run_training", run)
    assert host_run(folder, CommandReceiver(folder.control_path), resume=True).status == "completed"
    events = JournalReader(folder.events_path).read_events()
    (said,) = [event.body for event in events if isinstance(event.body, Warned)]
    assert said.code == "lost_oom_killer" and "out-of-memory killer" in said.message
    assert (folder.path / ballast.NAME).stat().st_size == ballast.SIZE
    assert folder.read_manifest()["vital_signs"]["oom_kills_group"] != -1


def test_work_is_saved_by_the_clock_where_steps_are_long(
    make_config: MakeConfig, train: Callable[..., Trained]
) -> None:
    by_clock = make_config(output__save_every=None, output__save_minutes=1e-9, training__max_steps=4)
    assert [saved["step"] for saved in train(by_clock).sink.of("checkpoint")] == [1, 2, 3, 4]
    patient = make_config(output__save_every=None, output__save_minutes=600.0, training__max_steps=4)
    assert [saved["step"] for saved in train(patient).sink.of("checkpoint")] == [4]
