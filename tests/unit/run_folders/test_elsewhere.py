"""A run that another machine trains, on a disk that both see."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from tui_tuner.errors import UsageError
from tui_tuner.launch import lock
from tui_tuner.launch.lock import hold_lock
from tui_tuner.runs.events import Event, EventBody, Finished, Heartbeat, RunStarted
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.wire import encode_event


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """As a process on another host leaves it while it trains."""
    found = RunFolder(tmp_path / "run")
    found.path.mkdir()
    (found.path / "config.yaml").write_text("model: {name: demo}\ndata: {path: demo}\n")
    (found.path / "manifest.json").write_text(
        json.dumps({"host": "node-7", "pid": os.getpid(), "claimed": 1})
    )
    _say(found, RunStarted(device="CPU"), Heartbeat(3))
    return found


def _say(folder: RunFolder, *bodies: EventBody, ago: float = 0.0) -> None:
    with open(folder.events_path, "ab") as journal:
        for body in bodies:
            journal.write(encode_event(Event(body, "run", 0, time.time() - ago)))


def test_its_heartbeats_tell_that_it_is_alive(folder: RunFolder) -> None:
    assert folder.is_alive() and folder.find_other_host() == "node-7" and folder.find_state() == "running"
    os.utime(folder.events_path, (time.time() - 600, time.time() - 600))
    assert not folder.is_alive() and folder.find_state() == "lost"


def test_a_run_that_ended_there_is_not_alive(folder: RunFolder) -> None:
    _say(folder, Finished("stopped", 130))
    assert not folder.is_alive() and folder.find_state() == "stopped"


def test_a_copy_of_an_old_run_is_not_alive(folder: RunFolder) -> None:
    folder.events_path.unlink()
    _say(folder, RunStarted(device="CPU"), Heartbeat(3), ago=86400 * 3)
    assert not folder.is_alive() and folder.find_state() == "lost"


def test_it_cannot_be_taken_while_its_journal_grows(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.1):
            _say(folder, Heartbeat(4))

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(UsageError, match="node-7") as raised, hold_lock(folder):
            raise AssertionError("two train it")
        assert "--force" in raised.value.hint
    finally:
        done.set()
        beating.join()
    assert folder.read_manifest()["host"] == "node-7"
    monkeypatch.setattr(lock, "HEARTBEATS_SECONDS", 0.3)
    with hold_lock(folder):  # as quiet as a container that was killed, and has another name now
        assert folder.read_manifest()["pid"] == os.getpid() and folder.read_manifest()["host"] != "node-7"


def test_it_is_taken_at_once_with_force(folder: RunFolder) -> None:
    folder.forget_process()
    began = time.monotonic()
    assert folder.find_other_host() == "" and not folder.is_alive()
    with hold_lock(folder):
        assert time.monotonic() - began < lock.HEARTBEATS_SECONDS
