"""A run that nobody watches tells how it ended, and no address gets into its folder."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import MakeConfig
from tests.unit.notifying.listener import listening
from tui_tuner.launch.child import start_worker
from tui_tuner.notifying.run_messages import Message
from tui_tuner.notifying.terminal_notices import TerminalNotices, list_notice_codes
from tui_tuner.runs.events import Event, Finished, RunStarted
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.store import RunFolder, RunStore

SECRET = "d34db33fd34db33f"


def holders(folder: RunFolder) -> list[str]:
    """The files of a run that hold the secret."""
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    return sorted({path.name for path in files if SECRET.encode() in path.read_bytes()})


def test_a_detached_run_that_is_terminated_tells_it_and_keeps_the_address_to_its_config(
    make_config: MakeConfig,
) -> None:
    with listening({f"/down-{SECRET}": [404]}) as server:
        places = [f"{server.address}/hook-{SECRET}", f"{server.address}/down-{SECRET}"]
        config = make_config(training__max_steps=100_000, output__notify=places)
        folder = RunStore(config.output.folder).create_run(config)
        child = start_worker(folder)
        until = time.monotonic() + 200
        while not any(event.body.KIND == "step" for event in JournalReader(folder.events_path).read_events()):
            assert child.poll() is None and time.monotonic() < until, folder.log_path.read_text()
            time.sleep(0.1)
        os.kill(child.pid, signal.SIGTERM)
        while child.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        assert child.poll() == 143
        (said,) = server.said(f"/hook-{SECRET}")
    assert said["status"] == "stopped" and said["exit_code"] == 143 and said["run"] == folder.name
    failed = [
        event.body
        for event in JournalReader(folder.events_path).read_events()
        if event.body.KIND == "warning"
    ]
    told = [body.message for body in failed if body.code == "notify_failed"]  # type: ignore[attr-defined]
    assert len(told) == 1 and "status 404" in told[0]
    assert holders(folder) == ["config.yaml"]


def test_a_run_whose_rows_are_missing_tells_that_it_failed(make_config: MakeConfig, tmp_path: Path) -> None:
    with listening() as server:
        config = make_config(output__notify=[f"{server.address}/hook"])
        folder = RunStore(config.output.folder).create_run(config)
        Path(str(config.data.path)).unlink()
        child = start_worker(folder)
        until = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        (said,) = server.said("/hook")
    assert said["status"] == "failed" and said["exit_code"] == child.poll() != 0
    assert said["message"] and said["text"].count("\n") >= 1


LINES = """
import sys
from tui_tuner.cli.ringing_printer import RingingPrinter
from tui_tuner.headless import make_printer_writer
from tui_tuner.runs.journal import JournalReader
from pathlib import Path
printer = RingingPrinter(make_printer_writer(sys.stdout), sys.stdout)
printer.feed_events(JournalReader(Path(sys.argv[1])).read_events())
"""


def test_a_terminal_rings_and_a_pipe_does_not(tmp_path: Path) -> None:
    from tui_tuner.runs.journal import JournalWriter

    journal = JournalWriter(tmp_path / "events.jsonl", "night")
    journal.emit(RunStarted({"output": {"notify": ["bell", "desktop"]}}))
    journal.emit(Finished("completed", 0, "40 steps."))
    journal.close()
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(Path(__file__).parents[3])}
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "TMUX", "VTE_VERSION"):
        environment.pop(name, None)
    command = [sys.executable, "-c", LINES, str(tmp_path / "events.jsonl")]
    piped = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    assert b"40 steps" in piped and b"\a" not in piped and b"\x1b" not in piped
    main, end = pty.openpty()
    process = subprocess.Popen(command, env=environment, stdout=end, stdin=end)
    os.close(end)
    shown = b""
    try:
        while piece := os.read(main, 4096):
            shown += piece
    except OSError:  # the other end is closed
        pass
    process.wait(30)
    os.close(main)
    assert b"40 steps" in shown and b"\a" in shown
    assert b"\x1b]9;tui-tuner: night is complete. 40 steps." in shown


def test_history_does_not_ring_and_each_terminal_gets_its_own_code(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "TMUX", "VTE_VERSION"):
        monkeypatch.delenv(name, raising=False)
    started = RunStarted({"output": {"notify": ["bell"]}})
    notices = TerminalNotices()
    assert notices.take_event(Event(started, "night", time=1000.0), now=5000.0) == ""
    assert notices.take_event(Event(Finished("failed", 1), "night", time=1001.0), now=5000.0) == ""
    assert notices.take_event(Event(Finished("failed", 1), "night", time=4999.0), now=5000.0) == "\a"
    odd = Message("a;b\x1b]0;owned\a", "text\x07;c")
    monkeypatch.setenv("TERM", "foot")
    code = list_notice_codes(["desktop"], odd)
    assert code.startswith("\x1b]777;notify;tui-tuner: a,b") and code.endswith("\x1b\\")
    assert code.count("\x1b") == 2 and "\a" not in code and code.count(";") == 3
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    assert list_notice_codes(["desktop"], odd).startswith("\x1bPtmux;\x1b\x1b]9;tui-tuner: ")
    assert list_notice_codes([], odd) == ""
