"""Several processes of one run: two real ones, joined by torch.distributed on the CPU."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Recorder
from tui_tuner.errors import UsageError
from tui_tuner.runs.control import CommandReceiver, send_control_command
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.run_commands import Commands, StopRequested
from tui_tuner.training.watching.reporting import Reporter

NAMES = ("WORLD_SIZE", "RANK", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_alone_is_the_ordinary_case_and_imports_nothing() -> None:
    code = (
        "import sys; from tui_tuner.training.ranks import Ranks; ranks = Ranks.from_environment()\n"
        "assert ranks == Ranks(1, 0, 0) and ranks.is_main\n"
        "assert ranks.any_rank(True) and not ranks.any_rank(False)\n"
        "assert ranks.broadcast_object({'a': 1}) == {'a': 1} and ranks.sum_tensor(3) == 3\n"
        "ranks.wait_for_all()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_environment_is_understood_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*values: str) -> Ranks:
        for name, value in zip(NAMES, values, strict=True):
            monkeypatch.setenv(name, value)
        return Ranks.from_environment()

    assert read("8", "5", "1") == Ranks(8, 5, 1) and not read("8", "5", "1").is_main
    assert read("1", "0", "0") == Ranks() == read("1", "7", "7"), "a single process has no others"
    for wrong in (("two", "0", "0"), ("2", "2", "0"), ("0", "0", "0"), ("2", "0", "-1"), ("", "0", "0")):
        with pytest.raises(UsageError, match="WORLD_SIZE"):
            read(*wrong)


RANK = """
import json, sys, time
from pathlib import Path
import torch
from tests.conftest import Recorder
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.training.run_commands import Commands, StopRequested
from tui_tuner.training.ranks import Ranks
from tui_tuner.training.watching.reporting import Reporter

ranks = Ranks.from_environment()
said = {"rank": ranks.rank}
said["any"] = [ranks.any_rank(ranks.rank == 1), ranks.any_rank(False), ranks.any_rank(True)]
said["broadcast"] = ranks.broadcast_object({"from": ranks.rank, "large": "x" * 100_000})["from"]
said["sum"] = ranks.sum_tensor(torch.tensor([1.0 + ranks.rank, 10.0])).tolist()
began = time.monotonic()
time.sleep(0.5 * ranks.rank)
ranks.wait_for_all()
said["waited"] = time.monotonic() - began

sink, control = Recorder(), CommandReceiver(Path(sys.argv[1]))
commands = Commands(control, reporter := Reporter(sink, ranks), ranks)
commands.check_stop()
if ranks.is_main:
    control.request_command("save")
    control.request_command("pause")
else:
    control.request_command("evaluate")  # what another rank is told does not count
first = commands.take_wishes()
said["first"] = [first.save, first.evaluate, first.stop]
saved = []
if ranks.is_main:
    import threading
    threading.Timer(0.5, control.request_command, ["save"]).start()
    threading.Timer(1.0, control.request_command, ["stop", "SIGTERM"]).start()
said["paused"] = commands.wait_while_paused(1, 10, lambda: saved.append(1)) > 0.5
said["saved"] = len(saved)
said["stop_wanted"] = commands.stop_wanted()
said["stop"] = commands.take_wishes().stop
said["code"] = commands.exit_code
control.request_command("stop")
if not ranks.is_main:
    commands.poll_commands()
try:
    commands.check_stop()
    said["stopped"] = False
except StopRequested:
    said["stopped"] = True
reporter.report_finish("stopped", 0)
said["events"] = [kind for kind, _ in sink.events]
print(json.dumps(said))
torch.distributed.destroy_process_group()
"""


def test_two_processes_agree(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(2):
        environment = {
            **os.environ,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            **dict(zip(NAMES, ("2", str(rank), str(rank)), strict=True)),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-c", RANK, str(tmp_path / f"control-{rank}.jsonl")]
        children.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    try:
        said: list[dict[str, Any]] = [json.loads(child.communicate(timeout=120)[0]) for child in children]
    finally:
        for child in children:
            child.kill()
    for one in said:
        assert one["any"] == [True, False, True] and one["broadcast"] == 0 and one["sum"] == [3.0, 20.0]
        assert one["waited"] > 0.4, "both have waited for the later one"
        assert one["first"] == [True, False, False] and one["paused"] and one["saved"] == 1
        assert one["stop"] and one["code"] == 143 and one["stopped"]
        assert not one["stop_wanted"], "no rank leaves on its own"
    assert said[1]["events"] == [], "only the main rank speaks"
    assert said[0]["events"].count("finished") == 1 and "command" in said[0]["events"]


def test_one_process_hears_its_commands_at_once(tmp_path: Path) -> None:
    sink, path = Recorder(), tmp_path / "control.jsonl"
    commands = Commands(CommandReceiver(path), Reporter(sink))
    send_control_command(path, "stop")
    assert commands.stop_wanted()
    with pytest.raises(StopRequested):
        commands.check_stop()
    assert commands.take_wishes().stop and not commands.take_wishes().stop
    assert [kind for kind, _ in sink.events] == ["command"]
