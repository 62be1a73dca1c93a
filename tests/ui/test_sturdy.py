"""No fault ends or freezes the workbench, nor the run in it: real processes on a pseudo-terminal."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.terminal import ROOT, Terminal, python
from tui_tuner.ui.guard import faultlog
from tui_tuner.ui.guard.faultlog import FaultLog, format_tracebacks
from tui_tuner.ui.guard.stalls import StallWatch

STILL = "\x1b[18~"  # F7: "still here"
FAULTS = {  # what is done, and what the log says of it
    "raise:error": "ValueError: [bold raised [/x]",
    "raise:exit": "SystemExit: [bold raised [/x]",
    "worker:deep": "RecursionError: ",
    "worker:memory": "MemoryError",
    "worker:exit": "SystemExit: 5",
    "worker:panic": "BaseException: a panic of a library",
    "screen:compose": "LookupError: no body",
    "screen:mount": "LookupError: no mount",
    "screen:render": "ZeroDivisionError: no paint",
    "input": "IndexError: of",
    "timer": "in deep",
    "stall:1.6": "the screen has been frozen for",
    "toast": "",
    "lowest": "LookupError: no home",
}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[list[Terminal]]:
    """Terminals that are ended with the test."""
    opened: list[Terminal] = []
    yield opened
    for one in opened:
        one.end()


def steps(folder: Path) -> int:
    return (folder / "runs" / "job" / "events.jsonl").read_bytes().count(b'"kind":"step"')


def test_no_fault_ends_the_workbench_or_the_run_in_it(tmp_path: Path, terminal: list[Terminal]) -> None:
    screen = Terminal(tmp_path, *python("-m", "tests.ui.odd_app", str(tmp_path), "job"))
    terminal.append(screen)
    screen.shows("running")
    log = tmp_path / "preferences" / "workbench.log"
    said = 0
    for what, found in FAULTS.items():
        screen.odd(what)
        if what == "input":
            screen.read(0.2)
            screen.press(STILL)  # is the one that is not understood
        if found:
            screen.until(
                lambda found=found: log.exists() and found in log.read_text(), f"{found} in the log", 20
            )
        said += "Something failed in" in screen.text()
        screen.raw = b""
        screen.press(STILL)
        screen.shows("still here", 20)
    assert said >= 3, "some faults were told on the screen, however many there are"
    before = steps(tmp_path)
    screen.until(lambda: steps(tmp_path) > before, "more steps")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert "\n    return deep(depth + 1)" in log.read_text() and "[0, 1, 2" not in log.read_text()
    os.kill(screen.pid, signal.SIGTERM)
    assert screen.exit_code(10) in (130, 143)
    assert b'"status":"stopped"' in (tmp_path / "runs" / "job" / "events.jsonl").read_bytes()


def test_a_fault_in_the_core_of_the_screen_leaves_terminal_and_run(
    tmp_path: Path, terminal: list[Terminal]
) -> None:
    screen = Terminal(tmp_path, *python("-m", "tests.ui.odd_app", str(tmp_path), "job"))
    terminal.append(screen)
    screen.shows("running")
    before = screen.modes()
    screen.odd("core")
    assert screen.exit_code() == 1
    assert before == 0 and screen.modes() != 0
    text = " ".join(screen.text().split())
    assert "The screen ended because of an error: RuntimeError: [bold the core failed" in text
    assert "workbench.log" in text and "tui-tuner attach job" in text
    done = steps(tmp_path)
    screen.until(lambda: steps(tmp_path) > done, "a run that goes on")


def test_a_deep_and_long_chain_of_errors_is_written_in_part(tmp_path: Path) -> None:
    def fall(depth: int) -> None:
        try:
            fall(depth + 1)
        except RecursionError as error:
            raise ValueError("x" * 100_000) from error

    with pytest.raises((ValueError, RecursionError)) as raised:
        fall(0)
    text = format_tracebacks(raised.value)
    assert text.count("\n") < faultlog._MOST_ERRORS * (2 * faultlog._MOST_FRAMES + 4) * 3
    log = FaultLog(tmp_path / "deep" / "x.log")
    assert log.record_fault("a fault", raised.value) == str(log.file_path)
    assert log.file_path.stat().st_size < 70_000


def test_the_log_is_private_bounded_and_follows_no_link(tmp_path: Path) -> None:
    log = FaultLog(tmp_path / "x.log")
    for _unused in range(40):
        assert log.record_fault("much", text="words " * 10_000)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"x.log", "x.log.1"} and max(sizes.values()) <= 1 << 20
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
    other = tmp_path / "other"
    other.write_text("")
    (tmp_path / "link.log").symlink_to(other)
    assert FaultLog(tmp_path / "link.log").record_fault("a fault") == ""
    assert FaultLog(Path("/proc/no/x.log")).record_fault("a fault", ValueError()) == ""
    assert other.read_text() == ""


def test_a_screen_that_stands_still_is_written_down_once(tmp_path: Path) -> None:
    log, told = FaultLog(tmp_path / "x.log"), []
    watch = StallWatch(log, lambda seconds, path: told.append((seconds, path)), least=0.3, look=0.02)
    watch.record_beat()
    watch.start_watching()
    deadline = time.monotonic() + 20
    while not log.file_path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.7)
    while not told:
        watch.record_beat()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    watch.stop_watching()
    ((seconds, path),) = told
    assert path == str(log.file_path) and seconds >= 0.9
    text = log.file_path.read_text()
    assert (
        len(re.findall(r"has been frozen for \d", text)) == 1
        and "MainThread" in text
        and "in test_a_screen_that" in text
    )


def test_a_process_that_was_held_is_no_screen_that_stands_still(tmp_path: Path) -> None:
    """As by a laptop that is closed: its threads get no turn for longer than a screen may stand still."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from tui_tuner.ui.guard.faultlog import FaultLog\n"
        "from tui_tuner.ui.guard.stalls import StallWatch\n"
        "watch = StallWatch(FaultLog(Path(sys.argv[1])), print, least=1.2, look=0.02)\n"
        "watch.start_watching()\n"
        "for number in range(10**6): watch.record_beat(); time.sleep(0.02); print(flush=True)\n"
    )
    log = tmp_path / "x.log"
    child = subprocess.Popen(
        python("-c", code, str(log)), stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    try:
        assert child.stdout is not None and child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        time.sleep(1.6)
        child.send_signal(signal.SIGCONT)
        for _unused in range(40):
            child.stdout.readline()
        assert not log.exists()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
