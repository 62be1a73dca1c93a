"""A killed process, resumed, ends with the same losses and the same weights, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeConfig, Trained, chat_rows, write_jsonl
from tui_tuner.config.schema import RunConfig
from tui_tuner.runs.events import Finished, RunStarted, Step
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.training.keeping.checkpoints import list_checkpoints

Train = Callable[..., Trained]
ADAPTER = "adapter_model.safetensors"


def losses(folder: RunFolder) -> dict[int, float]:
    events = JournalReader(folder.events_path).read_events()
    return {event.body.step: event.body.loss for event in events if isinstance(event.body, Step)}


def newest(folder: RunFolder) -> int:
    """Step of the newest checkpoint, -1 without any."""
    return max((found.step for found in list_checkpoints(folder.checkpoints_path)), default=-1)


def start(folder: RunFolder, resume: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tui_tuner.launch.worker", str(folder.path)]
    return subprocess.Popen(command + ["--resume"] * resume)


def killed_after(folder: RunFolder, step: int, resume: bool = False) -> None:
    """Run in a process of its own and kill it when the journal speaks of a step, and of a save just before.

    A checkpoint is finished beside the training, so without the second it may not be there yet.
    """
    process = start(folder, resume)
    try:
        deadline = time.monotonic() + 120
        while max(losses(folder), default=0) < step or newest(folder) < step - 2:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()


def long_config(make_config: MakeConfig, **more: Any) -> RunConfig:
    """Steps long enough to be killed in, over three epochs, with everything that has a state."""
    values: dict[str, Any] = dict(
        training__max_steps=12,
        training__batch_size=11,
        training__micro_batch=1,
        training__schedule="cosine",
        training__warmup=0.2,
        training__report_every=0.001,
        training__neftune_alpha=5.0,
        method__kind="lora",
        method__dropout=0.3,
        evaluation__every=2,
        output__save_every=2,
        data__max_length=64,
    )
    return make_config(**values | more)


@pytest.mark.parametrize(
    "more", [{}, {"task": "seq2seq", "model__name": "tiny"}], ids=["chats", "two stacks"]
)
def test_a_weighted_run_killed_in_the_middle_equals_one_that_was_not(
    make_config: MakeConfig, train: Train, chats: Path, more: dict[str, Any]
) -> None:
    rows = chat_rows()
    for place, row in enumerate(rows):
        row["quality"] = (1, 0.3, 2.5, 0)[place % 4]
        row["messages"][-1]["weight"] = (1, 4)[place % 2]
    write_jsonl(chats, rows)
    config = long_config(make_config, data__loss_weight="quality", **more)
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome
    assert whole.sink.of("ledger")[0]["outcomes"]["unused"] == 15
    folder = RunStore(config.output.folder).create_run(config)
    killed_after(folder, 5)
    assert start(folder, resume=True).wait(timeout=120) == 0
    assert losses(folder) == whole.steps()
    for name in ("last", "best"):
        one, other = whole.folder.path / name / ADAPTER, folder.path / name / ADAPTER
        assert one.read_bytes() == other.read_bytes()


def test_a_run_killed_twice_equals_one_that_was_not(make_config: MakeConfig, train: Train) -> None:
    config = long_config(make_config)
    whole = train(config)
    assert whole.outcome.status == "completed", whole.outcome

    folder = RunStore(config.output.folder).create_run(config)
    killed_after(folder, 3)
    assert folder.find_state() == "lost"
    killed_after(folder, 8, resume=True)
    process = start(folder, resume=True)
    assert process.wait(timeout=120) == 0

    assert losses(folder) == whole.steps()
    events = JournalReader(folder.events_path).read_events()
    resumed = [event.body.resumed_from for event in events if isinstance(event.body, RunStarted)]
    assert resumed[0] is None and 2 <= resumed[1] < resumed[2]
    sequence = [event.seq for event in events]
    assert sequence == list(range(len(sequence)))
    for name in ("last", "best"):
        one, other = whole.folder.path / name / ADAPTER, folder.path / name / ADAPTER
        assert one.read_bytes() == other.read_bytes()
    assert sum(isinstance(event.body, Finished) for event in events) == 1


def test_sigterm_saves_and_exits_143(make_config: MakeConfig, tmp_path: Path, train: Train) -> None:
    config = long_config(make_config)
    folder = RunStore(config.output.folder).create_run(config)
    process = start(folder, resume=False)
    try:
        deadline = time.monotonic() + 120
        while not losses(folder) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.terminate()
        assert process.wait(timeout=60) == 143
    finally:
        process.kill()
    assert folder.find_state() == "stopped"
    assert (folder.path / "last" / ADAPTER).is_file()
    done = max(losses(folder))
    resumed = train(config, resume=folder)
    assert resumed.sink.of("run_started")[0]["resumed_from"] == done
