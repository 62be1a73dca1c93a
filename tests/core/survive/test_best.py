"""`best` names what is on the disk, and what is on the disk is of the run's own history: with real kills."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig, Trained
from tui_tuner.config.schema import RunConfig
from tui_tuner.runs.events import Step
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.training.keeping.best import KEPT, STAMP, Stamp, read_stamp
from tui_tuner.training.keeping.checkpoints import list_checkpoints
from tui_tuner.training.keeping.progress import read_progress

Train = Callable[..., Trained]
ADAPTER = "adapter_model.safetensors"

# Forks for each kill: the child kills itself at the n-th time that a function is about to be called, or has
# returned. The libraries are imported once, before.
_KILLER = """
import os, signal, sys
from pathlib import Path
from tui_tuner.launch import worker
from tui_tuner.training import session, train
from tui_tuner.training.keeping import checkpoints, saving

point, count, seen = "", 0, 0

def here():
    global seen
    seen += 1
    if seen == count:
        os.kill(os.getpid(), signal.SIGKILL)

def after(owner, name, when=lambda *_: True):
    real = getattr(owner, name)
    def call(*args, **more):
        done = real(*args, **more)
        if when(*args):
            here()
        return done
    setattr(owner, name, call)

is_best = lambda path, *_: Path(path).name == "best"

def arm():
    match point:
        case "aside":
            after(Path, "rename", lambda path, *_: is_best(path))
        case "in place":
            after(Path, "rename", lambda path, to, *_: is_best(to) and ".writing" in str(path))
        case "best written":
            after(saving.Saver, "write_best")
        case "checkpoint":
            after(checkpoints.UnfinishedCheckpoint, "finish_checkpoint")

for job in sys.argv[1:]:
    point, number, folder = job.split("|")
    count = int(number)
    child = os.fork()
    if not child:
        arm()
        os._exit(worker.run_worker([folder]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
POINTS = (
    ("aside", 1),
    ("in place", 2),
    ("best written", 1),
    ("best written", 2),
    ("checkpoint", 1),
)


def _config(make_config: MakeConfig) -> RunConfig:
    """Evaluations at 2, 4 and 5; checkpoints at 3 and 5."""
    return make_config(
        training__max_steps=5,
        training__batch_size=11,
        training__report_every=0.001,
        training__learning_rate=1e-3,
        training__schedule="constant",
        evaluation__every=2,
        evaluation__samples=0,
        output__save_every=3,
        output__save_minutes=1000.0,
        output__keep=1,
        data__max_length=64,
    )


@pytest.fixture
def whole(make_config: MakeConfig, train: Train) -> Trained:
    run = train(_config(make_config))
    assert run.outcome.status == "completed", run.outcome
    return run


def _named(folder: RunFolder) -> Stamp | None:
    """What the newest checkpoint says is the best."""
    newest = list_checkpoints(folder.checkpoints_path)
    if not newest:
        return None
    progress = read_progress(newest[0].path)
    return None if progress.best_step is None else Stamp(progress.best_step, progress.best or 0.0)


def test_after_a_kill_best_is_what_the_run_goes_on_from(
    make_config: MakeConfig, train: Train, whole: Trained
) -> None:
    config = _config(make_config)
    folders = [RunStore(config.output.folder).create_run(config) for _unused in POINTS]
    jobs = [f"{point}|{count}|{folder.path}" for (point, count), folder in zip(POINTS, folders, strict=True)]
    done = subprocess.run(
        [sys.executable, "-c", _KILLER, *jobs], check=False, timeout=600, stdout=subprocess.PIPE
    )
    assert done.stdout.split() == [b"-9"] * len(POINTS), "each was killed, none came to its end"
    for point, folder in zip(POINTS, folders, strict=True):
        _goes_on(config, train, folder, whole, f"killed at {point}")


def _goes_on(config: RunConfig, train: Train, folder: RunFolder, whole: Trained, what: str) -> None:
    wanted, found = _named(folder), []

    def watch(run: Trained) -> None:
        real = run.sink.emit

        def emit(body: Any) -> None:
            if isinstance(body, Step) and not found:  # no evaluation of this process is written yet
                found.append(
                    (
                        folder.best_path.exists(),
                        read_stamp(folder.best_path),
                        folder.best_path.with_name(KEPT).exists(),
                    )
                )
            real(body)

        run.sink.emit = emit  # type: ignore[method-assign]

    again = train(config, resume=folder, before=watch)
    assert found == [(wanted is not None, wanted, False)], what
    assert again.outcome.message == whole.outcome.message, what
    for name in ("best", "last"):
        expected = (whole.folder.path / name / ADAPTER).read_bytes()
        assert (folder.path / name / ADAPTER).read_bytes() == expected, what
    assert (folder.best_path / STAMP).read_text() == (whole.folder.best_path / STAMP).read_text(), what
    assert not [path.name for path in folder.path.iterdir() if path.name.startswith(".best")], what


def test_after_going_back_best_is_of_the_steps_that_count(
    make_config: MakeConfig, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.core.survive.test_numbers import Spoiled

    config = _config(make_config)
    config.training.on_bad_numbers = "rollback"
    config.training.micro_batch = 11
    config.data.max_length = 512
    Spoiled(monkeypatch, {5})
    run = train(config)  # step 5 is bad: the evaluation of step 4 is void, as it goes on from step 3
    assert run.outcome.status == "completed" and run.sink.of("rolled_back") == [{"step": 3}]
    assert [fields["step"] for fields in run.sink.of("evaluation")] == [0, 2, 4, 4, 5]
    stamp = read_stamp(run.folder.best_path)
    later = run.sink.of("evaluation")[3:]
    assert stamp is not None
    assert stamp in [Stamp(fields["step"], fields["metrics"]["loss"]) for fields in later]
    assert json.loads((run.folder.best_path / STAMP).read_text())["metric"] == "loss"


def test_a_run_whose_checkpoints_are_damaged_keeps_the_best_it_had(
    make_config: MakeConfig, train: Train, whole: Trained
) -> None:
    before = (whole.folder.best_path / ADAPTER).read_bytes()
    for path in whole.folder.checkpoints_path.iterdir():
        (path / "files.json").write_text("{")
    again = train(whole.folder.load_config(), resume=whole.folder)
    assert again.outcome.status == "completed" and "best_aside" in again.codes()
    assert (whole.folder.path / "best-earlier" / ADAPTER).read_bytes() == before
    assert read_stamp(whole.folder.best_path) is not None


def test_a_stamp_is_of_a_whole_folder(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    Stamp(3, 0.1 + 0.2).write_stamp(folder, "loss")
    assert read_stamp(folder) == Stamp(3, 0.1 + 0.2)
    for damage in (
        "{",
        "[]",
        "{}",
        '{"step": 3, "value": "x", "files": {}}',
        '{"step": 3, "value": 1, "files": 3}',
    ):
        (folder / STAMP).write_text(damage)
        assert read_stamp(folder) is None
    Stamp(3, 0.5).write_stamp(folder, "loss")
    os.truncate(folder / "model.safetensors", 3)
    assert read_stamp(folder) is None
    shutil.rmtree(folder)
    assert read_stamp(folder) is None
