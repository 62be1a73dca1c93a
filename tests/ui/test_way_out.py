"""A screen that is ended by signals, by its terminal and by kill -9: real processes on a pseudo-terminal."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.ui.terminal import ENTERED, LEFT, Terminal, python

Open = Callable[..., Terminal]
PROMPT = 8.0  # seconds for what takes less than two on a machine that has nothing else to do


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Open the odd workbench, in a folder of its own, and wait until its screen stands."""
    screens: list[Terminal] = []

    def start(run: str = "-", *shell: str) -> Terminal:
        folder = tmp_path / str(len(screens))
        folder.mkdir()
        command = python("-m", "tests.ui.odd_app", str(folder), run)
        if shell:
            words = " ".join([*shell[2:], *command])
            command = (*shell[:2], f"{words}; echo prompt $?; sleep 300")
        screen = Terminal(folder, *command)
        screens.append(screen)
        screen.shows("running" if run != "-" else "start from a preset")
        return screen

    yield start
    for screen in screens:
        screen.end()


def app_of(screen: Terminal) -> int:
    """The process with the screen, below the waiter."""
    return psutil.Process(screen.pid).children()[0].pid


def journal(screen: Terminal, run: str) -> bytes:
    return (screen.folder / "runs" / run / "events.jsonl").read_bytes()


def gone(screen: Terminal) -> bool:
    return not screen.processes()


def goes_on(screen: Terminal, run: str) -> None:
    before = len(journal(screen, run))
    screen.until(lambda: len(journal(screen, run)) > before, "steps of the run")


def stopped(screen: Terminal, run: str) -> None:
    """The run was told to stop, and ends as one that was saved, with its process."""
    screen.until(lambda: b'"status":"stopped"' in journal(screen, run), "the end of the run", 30)
    screen.until(lambda: gone(screen), "the end of the process", 30)


@pytest.mark.parametrize(
    ("odd", "to_app"), [("spin", False), ("sleep", True), ("hold", True), ("reader", False)]
)
def test_sigterm_ends_a_screen_whatever_it_does(opened: Open, odd: str, to_app: bool) -> None:
    """`spin`: Python that never ends; `sleep`: a call that blocks; `hold`: C that keeps the interpreter."""
    screen = opened()
    app = app_of(screen)
    screen.odd(odd)
    screen.read(0.4)
    os.kill(app if to_app else screen.pid, signal.SIGTERM)
    assert screen.exit_code(PROMPT) == 143
    screen.until(lambda: gone(screen), "end of all processes", 60)
    assert screen.modes() != 0 and screen.raw.count(LEFT) == 1


def test_sigterm_saves_the_run_and_the_shell_is_told_where_that_takes_long(opened: Open) -> None:
    screen = opened("slow")
    screen.odd("spin")
    screen.read(0.4)
    os.kill(screen.pid, signal.SIGTERM)
    assert screen.exit_code(PROMPT) == 143
    assert "run slow is saving and will then stop; watch it with `tui-tuner attach slow`" in screen.text()
    assert screen.modes() != 0 and screen.raw.count(LEFT) == 1
    stopped(screen, "slow")


def test_a_run_whose_process_does_not_answer_is_named_and_guarded(opened: Open) -> None:
    screen = opened("job")
    app = app_of(screen)
    screen.odd("hold")
    screen.read(0.4)
    os.kill(app, signal.SIGTERM)
    assert screen.exit_code(PROMPT) == 143
    words = " ".join(screen.text().split())
    assert "its process does not respond" in words and "tui-tuner resume job" in words
    assert len(screen.processes()) == 2, "the run, and who kills it if it never answers"


def test_a_fast_run_is_saved_before_the_prompt(opened: Open) -> None:
    screen = opened("job")
    os.kill(screen.pid, signal.SIGINT)
    assert screen.exit_code(PROMPT) in (130, 143)
    assert b'"status":"stopped"' in journal(screen, "job")


def test_kill_9_gives_the_terminal_back_and_names_the_run(opened: Open) -> None:
    for run, words in (("-", "was killed by SIGKILL."), ("job", "Resume the run with: tui-tuner resume job")):
        screen = opened(run)
        assert screen.modes() == 0
        os.kill(app_of(screen), signal.SIGKILL)
        assert screen.exit_code(PROMPT) == 137
        assert words in screen.text() and screen.modes() != 0
        assert screen.raw.count(LEFT) == 1 and b"\x1b[?1000l" in screen.raw and b"\x1b[?2004l" in screen.raw
        assert gone(screen)


def test_sigquit_of_the_group_gives_the_terminal_back(opened: Open) -> None:
    screen = opened()
    assert screen.modes() == 0
    os.kill(screen.pid, signal.SIGQUIT)
    os.kill(app_of(screen), signal.SIGQUIT)
    assert screen.exit_code(PROMPT) == 128 + signal.SIGQUIT
    assert screen.modes() != 0 and screen.raw.count(LEFT) == 1
    assert gone(screen)


def test_kill_9_of_the_waiter_leaves_no_screen_without_a_terminal(opened: Open) -> None:
    idle, training = opened(), opened("job")
    for screen in (idle, training):
        os.kill(screen.pid, signal.SIGKILL)
        assert screen.exit_code() == 137
    idle.until(lambda: gone(idle), "end of the app", 60)
    assert len(training.processes()) == 1
    goes_on(training, "job")


def test_lost_terminals_leave_no_orphan_and_runs_go_on(opened: Open) -> None:
    """Windows are closed: over a screen that is idle, one that spins, and one that blocks beside a run."""
    idle, spinning, training = opened("-", "sh", "-c"), opened(), opened("job", "bash", "-c")
    spinning.odd("spin")
    training.odd("sleep")
    for screen in (spinning, training):
        screen.read(0.3)
    for screen in (idle, spinning, training):
        screen.hang_up()
    for screen in (idle, spinning):
        screen.until(lambda screen=screen: gone(screen), "end of the app", 60)
    goes_on(training, "job")
    (training.folder / "runs" / "job" / "control.jsonl").write_text('{"time": 1, "command": "stop"}\n')
    stopped(training, "job")


def test_a_screen_is_painted_on_the_terminal_stops_goes_on_and_quits(opened: Open) -> None:
    """Nothing of it lands in standard error, and a thread that reads for ever is not waited for."""
    screen = opened("-", "sh", "-c", "exec 2>errors;")
    app = next(one for one in screen.processes() if one.children() == [] and "python" in one.name())
    app.send_signal(signal.SIGTSTP)
    screen.until(lambda: app.status() == psutil.STATUS_STOPPED, "a stop", 60)
    app.send_signal(signal.SIGCONT)
    time.sleep(0.2)
    screen.raw = b""
    screen.press("\x1b[18~")
    screen.shows("still here", 20)
    screen.odd("reader")
    screen.read(0.3)
    screen.press("\x11")
    screen.shows("prompt 0", 20)
    assert screen.modes() != 0
    assert (screen.folder / "errors").read_bytes() == b""


def test_a_stop_while_something_is_written_waits_until_it_is(opened: Open) -> None:
    screen = opened()
    app = psutil.Process(app_of(screen))
    for how in ("from inside", "from outside", "from inside"):
        if how == "from inside":
            screen.odd("stop")
        else:
            app.send_signal(signal.SIGSTOP)
        screen.until(lambda: app.status() == psutil.STATUS_STOPPED, f"a stop {how}", 60)
        assert (screen.modes() != 0) == (how == "from inside")
        screen.raw = b""
        app.send_signal(signal.SIGCONT)
        screen.until(lambda: b"start from a preset" in screen.raw.partition(ENTERED)[2], "a whole screen", 60)
        assert screen.modes() == 0
    screen.press("\x1b[18~")
    screen.shows("still here", 20)


def test_a_terminal_that_cannot_paint_is_refused_in_one_line(tmp_path: Path) -> None:
    screen = Terminal(tmp_path, *python("-m", "tui_tuner"), TERM="dumb")
    try:
        assert screen.exit_code(30) == 2
        assert screen.raw.count(b"\n") == 1 and b"\x1b" not in screen.raw
        assert "TERM is dumb" in screen.text() and "--no-tui" in screen.text()
    finally:
        screen.end()
