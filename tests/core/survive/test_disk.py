"""A disk that fills up: the run waits and goes on, nothing written is damaged, the journal misses nothing."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeConfig, Trained
from tui_tuner.config.schema import RunConfig
from tui_tuner.launch.child import start_worker as start
from tui_tuner.launch.proof import compare_proof_runs, train_proof_to_end
from tui_tuner.runs.control import send_control_command
from tui_tuner.runs.events import EventBody, Finished, Step, Warned
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.store import RunFolder, RunStore
from tui_tuner.training.keeping.checkpoints import list_checkpoints
from tui_tuner.training.keeping.disk import describe_free_room

SIZE = 24 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _config(make_config: MakeConfig, root: Path) -> RunConfig:
    return make_config(
        training__max_steps=14,
        training__report_every=0.001,
        output__folder=str(root),
        output__save_every=2,
        output__keep=1,
        evaluation__every=4,
    )


def _bodies(folder: RunFolder) -> list[EventBody]:
    return [event.body for event in JournalReader(folder.events_path).read_events()]


def _codes(folder: RunFolder) -> list[str]:
    return [body.code for body in _bodies(folder) if isinstance(body, Warned)]


def _wait(what: str, true: object, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _take_all(disk: Path) -> Path:
    """Fill a disk to its last byte, whatever the run writes meanwhile; returns the file that does it."""
    filler = disk / "somebody-elses-file"
    with open(filler, "ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 65536):
            pass
    return filler


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_full_disk_holds_the_run_until_there_is_room(
    make_config: MakeConfig, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RunStore(tmp_path / "roomy").create_run(_config(make_config, tmp_path / "roomy"))
    train_proof_to_end(whole)
    folder = RunStore(small_disk).create_run(_config(make_config, small_disk))
    child = start(folder)
    try:
        _wait(
            "the first checkpoint",
            lambda: list_checkpoints(folder.checkpoints_path) or child.poll() is not None,
        )
        ballast = _take_all(small_disk)
        _wait("the pause", lambda: folder.find_state() == "paused" or child.poll() is not None)
        assert child.poll() is None, folder.log_path.read_text()
        assert "disk_full" in _codes(folder), "the journal can speak though the disk is full"
        assert all(not checkpoint.find_problem() for checkpoint in list_checkpoints(folder.checkpoints_path))
        ballast.unlink()
        assert child.wait(timeout=90) == 0, folder.log_path.read_text()
    finally:
        child.kill()
        child.wait()
    assert folder.find_state() == "completed"
    found = compare_proof_runs(whole, folder)
    assert found.is_exact, found.differences
    events = JournalReader(folder.events_path).read_events()
    assert [event.seq for event in events] == list(range(len(events))), "no event was lost"
    assert "journal_gap" not in _codes(folder)
    assert [path.name for path in folder.checkpoints_path.iterdir() if path.name.startswith(".")] == []


def test_stop_ends_the_wait_for_room(make_config: MakeConfig, small_disk: Path) -> None:
    folder = RunStore(small_disk).create_run(_config(make_config, small_disk))
    child = start(folder)
    try:
        _wait(
            "the first checkpoint",
            lambda: list_checkpoints(folder.checkpoints_path) or child.poll() is not None,
        )
        filler = _take_all(small_disk)
        _wait("the pause", lambda: folder.find_state() == "paused" or child.poll() is not None)
        _take_all(small_disk)  # a checkpoint that was pruned, or not finished, has made room again
        os.truncate(filler, filler.stat().st_size - 32768)  # for the command
        send_control_command(folder.control_path, "stop")
        assert child.wait(timeout=60) == 130, folder.log_path.read_text()
    finally:
        child.kill()
        child.wait()
    filler.unlink()
    assert folder.find_state() == "stopped"
    assert all(not checkpoint.find_problem() for checkpoint in list_checkpoints(folder.checkpoints_path))
    train_proof_to_end(folder, resume=True)
    assert folder.find_state() == "completed"


def test_a_run_that_could_never_be_saved_is_not_begun(make_config: MakeConfig, small_disk: Path) -> None:
    folder = RunStore(small_disk).create_run(_config(make_config, small_disk))
    (small_disk / "somebody-elses-file").write_bytes(b"x" * (12 * 2**20))
    child = start(folder)
    assert child.wait(timeout=90) == 1
    (end,) = [body for body in _bodies(folder) if isinstance(body, Finished)]
    assert "could be saved" in end.message and "--runs" in end.hint
    assert not [body for body in _bodies(folder) if isinstance(body, Step)]


def test_the_log_of_a_child_that_cannot_write_is_not_the_end_of_it(tmp_path: Path) -> None:
    """A print into a full disk raises inside libraries; the log swallows it."""
    code = (
        "from tui_tuner.launch.output_capture import scrub_output_streams; import sys\n"
        "scrub_output_streams()\n"
        "for number in range(1000): print('x' * 100)\n"
        "sys.exit(7)\n"
    )
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=full, check=False)
    assert done.returncode == 7


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_predicted_size_of_a_checkpoint_is_the_real_one(
    make_config: MakeConfig, train: Callable[..., Trained], kind: str
) -> None:
    run = train(make_config(method__kind=kind, training__max_steps=3, training__optimizer="adamw"))
    said = next(log["message"] for log in run.sink.of("log") if "checkpoint takes about" in log["message"])
    number, unit = said.split("about ")[1].split(";")[0].split()
    predicted = float(number) * {"KiB": 2**10, "MiB": 2**20}[unit]
    (made,) = run.sink.of("checkpoint")[-1:]
    assert made["bytes"] <= predicted <= 1.2 * made["bytes"] + 2**20


def test_a_disk_without_inodes_is_not_called_full_of_bytes(tmp_path: Path) -> None:
    place = tmp_path / "few"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=4", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        assert describe_free_room(place) == "8.0 MiB free"
        with contextlib.suppress(OSError):
            for number in range(10):
                (place / str(number)).touch()
        assert describe_free_room(place) == "no inodes left for new files, 8.0 MiB free"
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
