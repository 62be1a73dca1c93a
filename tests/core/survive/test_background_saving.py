"""A checkpoint is finished beside the training; what fails there is still noticed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig, Trained
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.training.keeping import checkpoints
from tui_tuner.training.keeping.writer import Writer

Train = Callable[..., Trained]
SLOW_DISK = """
import sys, time
from pathlib import Path
from tui_tuner.training.keeping import checkpoints
inner = checkpoints._sync_tree
def slow(folder):
    inner(folder)
    if "step-6" in folder.name:
        Path(sys.argv[-1]).touch()
        time.sleep(60)
checkpoints._sync_tree = slow
from tui_tuner.launch.worker import run_worker

sys.exit(run_worker(sys.argv[1:2]))
"""


def in_background() -> bool:
    return threading.current_thread() is not threading.main_thread()


def left_over(folder: RunFolder) -> list[str]:
    return [path.name for path in folder.checkpoints_path.iterdir() if path.name.startswith(".")]


def saved(run: Trained) -> list[int]:
    return [fields["step"] for fields in run.sink.of("checkpoint")]


def test_steps_are_made_while_a_checkpoint_is_finished(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk does not answer before two more steps are made; the next save waits for it."""
    inner, running, most = checkpoints._sync_tree, [0], [0]
    watched: list[Any] = []

    def slow(folder: Path) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        if in_background() and "step-3" in folder.name:
            deadline = time.monotonic() + 60
            while max(watched[0].sink.steps(), default=0) < 5 and time.monotonic() < deadline:
                time.sleep(0.01)
        inner(folder)
        running[0] -= 1

    monkeypatch.setattr(checkpoints, "_sync_tree", slow)
    config = make_config(training__max_steps=8, training__report_every=0.001, evaluation__every=None)
    run = train(config, before=watched.append)
    kinds = [(kind, fields.get("step")) for kind, fields in run.sink.events if kind in ("step", "checkpoint")]
    assert kinds.index(("checkpoint", 3)) > kinds.index(("step", 5))
    assert saved(run) == [3, 6, 8] and most[0] == 1, "never two at once"
    first = run.sink.of("checkpoint")[0]
    assert first["held"] < first["seconds"]
    assert left_over(run.folder) == []
    assert all(
        not found.find_problem() for found in checkpoints.list_checkpoints(run.folder.checkpoints_path)
    )


def test_what_is_saved_is_the_state_of_its_step(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps made while it was being finished are not in it: going on from it gives them again."""
    inner = checkpoints._sync_tree
    watched: list[Any] = []

    def slow(folder: Path) -> None:
        deadline = time.monotonic() + 60
        while in_background() and max(watched[0].sink.steps(), default=0) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        inner(folder)

    monkeypatch.setattr(checkpoints, "_sync_tree", slow)
    config = make_config(
        training__max_steps=6, training__report_every=0.001, method__dropout=0.3, evaluation__every=None
    )
    run = train(config, before=watched.append)
    (newest, older) = checkpoints.list_checkpoints(run.folder.checkpoints_path)
    assert (newest.step, older.step) == (6, 3)
    (newest.path / "trained.safetensors").write_bytes(b"")
    resumed = train(config, resume=run.folder)
    assert resumed.sink.of("run_started")[0]["resumed_from"] == 3
    assert resumed.steps() == {step: run.steps()[step] for step in (4, 5, 6)}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk_full"),
        (MemoryError("injected"), "out_of_memory"),
    ],
)
def test_a_failure_in_the_background_is_said_and_made_good(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    inner, failed = checkpoints._sync_tree, []

    def once(folder: Path) -> None:
        inner(folder)
        if in_background() and not failed:
            failed.append(folder)
            raise error

    monkeypatch.setattr(checkpoints, "_sync_tree", once)
    config = make_config(training__max_steps=9, evaluation__every=None)
    run = train(config)
    assert run.outcome.status == "completed" and len(failed) == 1
    assert said in run.codes() + [kind for kind, _ in run.sink.events]
    assert 3 not in saved(run) and saved(run)[0] in (4, 5, 6) and saved(run)[-1] == 9
    assert left_over(run.folder) == []
    assert all(
        not found.find_problem() for found in checkpoints.list_checkpoints(run.folder.checkpoints_path)
    )


def test_another_failure_in_the_background_ends_the_run(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(checkpoints, "_sync_tree", broken)
    run = train(make_config(evaluation__every=None))
    assert run.outcome.status == "failed" and os.strerror(errno.EIO) in run.outcome.message
    assert left_over(run.folder) == []


def test_a_kill_before_the_rename_leaves_the_checkpoint_before(
    make_config: MakeConfig, train: Train, tmp_path: Path
) -> None:
    config = make_config(training__max_steps=8, training__report_every=0.001, evaluation__every=None)
    whole = train(config)
    folder, mark = RunStore(config.output.folder).create_run(config), tmp_path / "mark"
    child = subprocess.Popen([sys.executable, "-c", SLOW_DISK, str(folder.path), str(mark)])
    try:
        deadline = time.monotonic() + 120
        while not mark.exists():
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    assert [found.step for found in checkpoints.list_checkpoints(folder.checkpoints_path)] == [3]
    assert left_over(folder) != []
    resumed = train(config, resume=folder)
    assert resumed.sink.of("run_started")[0]["resumed_from"] == 3
    assert resumed.steps() == {step: whole.steps()[step] for step in range(4, 9)}
    assert left_over(folder) == [] and JournalReader(folder.events_path).read_events()


def test_a_task_is_done_here_where_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    writer, done = Writer(), []
    writer.start_job(lambda: done.append(in_background()))
    assert done == [False] and writer.take_failure() is None
    writer.start_job(lambda: [][0])
    assert writer.has_failed and isinstance(writer.take_failure(), IndexError) and not writer.has_failed
