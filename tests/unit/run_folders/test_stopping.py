"""A stop is obeyed within seconds by a process that is there for the run alone, whatever a library does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tui_tuner.launch import stopping
from tui_tuner.launch.stopping import StopWatcher
from tui_tuner.launch.watchdog import Watchdog
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.events import EventBody, Finished, Log, Phase, Step
from tui_tuner.runs.journal import JournalReader

_STUCK = """
import os, subprocess, sys, time
from pathlib import Path
from tui_tuner.launch import stopping
from tui_tuner.launch.signals import install_signal_handlers
from tui_tuner.launch.watchdog import Watchdog
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.events import Phase
from tui_tuner.runs.journal import JournalWriter

stopping.PATIENCE_SECONDS = 0.3
folder = Path(sys.argv[1])
control = CommandReceiver(folder / "control.jsonl")
install_signal_handlers(control)
journal = JournalWriter(folder / "events.jsonl", "r")
with Watchdog(journal, folder, stopping=stopping.StopWatcher(control, journal.sync, os._exit)) as sink:
    sink.emit(Phase("tokenizing"))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    while True:  # a loop that looks at nothing
        time.sleep(0.01)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_process_that_is_stuck_before_the_first_step_ends(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with subprocess.Popen([sys.executable, "-c", _STUCK, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(timeout=60) == code
    last = JournalReader(tmp_path / "events.jsonl").read_events()[-1].body
    assert isinstance(last, Finished) and (last.status, last.exit_code) == ("stopped", code)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and "zombie" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline, "what it had started is left behind"
        time.sleep(0.05)


class Kept:
    def __init__(self) -> None:
        self.bodies: list[EventBody] = []

    def emit(self, body: EventBody) -> None:
        self.bodies.append(body)


@pytest.mark.parametrize("bodies", [[Phase("loading"), Step(1)], [Phase("training", 0, 5)]])
def test_once_there_is_something_to_save_a_word_is_said_and_it_is_waited_for(
    tmp_path: Path, bodies: list[EventBody], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(stopping, "_LOOK_SECONDS", 0.01)
    sink, ended, control = Kept(), [], CommandReceiver(tmp_path / "control.jsonl")
    watch = StopWatcher(control, lambda: None, ended.append)
    with Watchdog(sink, tmp_path, stopping=watch) as watchdog:
        for body in bodies:
            watchdog.emit(body)
        control.request_command("stop", reason="SIGTERM")
        deadline = time.monotonic() + 30
        while not any(isinstance(body, Log) for body in sink.bodies):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
    assert ended == [] and sum(isinstance(body, Log) for body in sink.bodies) == 1


def test_in_the_workbench_nothing_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(stopping, "_LOOK_SECONDS", 0.01)
    sink, control = Kept(), CommandReceiver(tmp_path / "control.jsonl")
    with Watchdog(sink, tmp_path, stopping=StopWatcher(control, lambda: None, None)) as watchdog:
        watchdog.emit(Phase("loading"))
        control.request_command("stop", reason="SIGTERM")
        time.sleep(0.3)
    assert os.getpid() and not any(isinstance(body, Finished) for body in sink.bodies)
