"""Processes around a run: captured output, lock, detaching. Real processes and a real pty."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import RunError, UsageError
from tui_tuner.launch import child as child_module
from tui_tuner.launch.child import start_detached, start_worker
from tui_tuner.launch.lock import hold_lock
from tui_tuner.launch.run_host import host_run
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.store import RunFolder, RunStore


def _folder(root: Path) -> RunFolder:
    return RunStore(root).create_run(RunConfig.model_validate({"output": {"name": "r"}}))


def test_what_libraries_print_goes_to_the_log_and_the_terminal_stays_clean(tmp_path: Path) -> None:
    code = """
import os, subprocess, sys
from pathlib import Path
from tui_tuner.launch.output_capture import capture_output
with capture_output(Path(sys.argv[1])) as terminal:
    print("from python"); os.write(2, b"from C\\n"); subprocess.run(["echo", "from a child"])
    sys.__stdout__.write("screen\\n"); terminal.err.write("message\\n")
print("after")
"""
    log = tmp_path / "run.log"
    done = subprocess.run([sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=True)
    assert done.stdout == "screen\nafter\n"
    assert done.stderr == "message\n"
    assert sorted(log.read_text().splitlines()) == ["from C", "from a child", "from python"]


def test_a_run_has_one_owner_and_a_dead_owner_holds_nothing(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from tui_tuner.launch.lock import hold_lock;"
        "from tui_tuner.runs.store import RunFolder\n"
        "with hold_lock(RunFolder(Path(sys.argv[1]))): print('mine', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(folder.path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    with pytest.raises(UsageError, match=f"pid {child.pid}"), hold_lock(folder):
        pass
    child.kill()
    child.wait()
    with hold_lock(folder):
        assert folder.read_manifest()["pid"] == os.getpid()


WAITED = """
import os, sys, time
from tui_tuner.launch.terminal.waiter import fork_behind_waiter
release = fork_behind_waiter().release_shell
print(os.getpid(), flush=True)
mode = sys.argv[1]
if mode == "exit":
    sys.exit(7)
if mode == "detach":
    release()
    time.sleep(float(sys.argv[2]))
    open(sys.argv[3], "w").write("done")
if mode == "wait":
    time.sleep(60)
"""


def test_the_waiter_passes_the_exit_code_on() -> None:
    assert subprocess.run([sys.executable, "-c", WAITED, "exit"], stdout=subprocess.DEVNULL).returncode == 7


def test_the_waiter_passes_sigterm_on() -> None:
    process = subprocess.Popen([sys.executable, "-c", WAITED, "wait"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_detached_run_survives_its_terminal(tmp_path: Path) -> None:
    """The waiter exits at once; closing the pty (SIGHUP to its session) leaves the child alone."""
    marker = tmp_path / "marker"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", WAITED, "detach", "1.5", str(marker)])
    os.read(terminal, 100)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    deadline = time.monotonic() + 10
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert marker.read_text() == "done"


def test_signals_become_requests(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from tui_tuner.launch.signals import install_signal_handlers
from tui_tuner.runs.control import CommandReceiver
control = CommandReceiver(Path(sys.argv[1]))
install_signal_handlers(control)
os.kill(os.getpid(), signal.SIGHUP)
print(control.poll_commands(), control.stop_reason)
os.kill(os.getpid(), signal.SIGTERM)
print(control.poll_commands(), control.stop_reason)
for _ in range(3): os.kill(os.getpid(), signal.SIGINT)
print("not reached")
"""
    done = subprocess.run([sys.executable, "-uc", code, str(tmp_path / "c")], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[] ", "['stop'] SIGTERM"]
    assert done.returncode == -signal.SIGINT  # the third one does not wait for a step boundary


@pytest.fixture
def worker_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RunFolder]:
    """Have Python processes run some code first; gives a run that ends at once for want of data."""

    def prepare(code: str) -> RunFolder:
        (tmp_path / "sitecustomize.py").write_text(code)
        paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        values = {"output": {"name": "r"}, "data": {"path": str(tmp_path / "none.jsonl")}}
        return RunStore(tmp_path / "runs").create_run(RunConfig.model_validate(values))

    return prepare


SLOW = "import sys, time\nif any('launch.worker' in item for item in sys.orig_argv): time.sleep(2)"


def test_a_background_process_that_is_slow_is_waited_for(
    worker_begins: Callable[[str], RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = worker_begins(SLOW)
    monkeypatch.setattr(child_module, "SLOW", 0.2)
    said: list[str] = []
    pid = start_detached(folder, say=said.append)
    assert folder.read_manifest()["pid"] == pid
    (words,) = said
    assert "has not started" in words and "still waiting" in words
    assert os.waitpid(pid, 0)[0] == pid
    assert folder.find_state() == "failed" and "none.jsonl" in folder.events_path.read_text()


def test_nobody_waits_longer_than_wanted_and_an_interrupted_wait_leaves_no_process(
    worker_begins: Callable[[str], RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = worker_begins(SLOW)
    pid = start_detached(folder, enough=lambda: True)
    assert os.waitpid(pid, 0)[0] == pid and folder.read_manifest()["pid"] == pid, "it was left to itself"
    monkeypatch.setattr(child_module, "SLOW", 0.2)
    (folder.path / "manifest.json").unlink()

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    others = set(psutil.Process().children())  # of tests before this one
    with pytest.raises(KeyboardInterrupt):
        start_detached(folder, say=interrupt)
    assert set(psutil.Process().children()) <= others
    time.sleep(2.5)
    assert not folder.read_manifest()


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ("os._exit(7)", "ended with exit code 7"),
        ("os.kill(os.getpid(), 9)", r"was ended by signal 9 \(SIGKILL\)"),
    ],
)
def test_a_background_process_that_dies_first_says_how(
    worker_begins: Callable[[str], RunFolder], ends: str, words: str
) -> None:
    folder = worker_begins(f"import os, sys\nif any('launch.worker' in i for i in sys.orig_argv): {ends}")
    with pytest.raises(RunError, match=f"the background process {words} before it started the run.") as ended:
        start_detached(folder)
    assert "run.log" in ended.value.hint


def test_a_worker_has_a_session_of_its_own_and_ends_with_what_it_started(
    worker_begins: Callable[[str], RunFolder],
) -> None:
    folder = worker_begins(
        "import subprocess, sys, time\n"
        "if any('launch.worker' in item for item in sys.orig_argv):\n"
        "    print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    )
    child = start_worker(folder)
    assert os.getsid(child.pid) == child.pid
    deadline = time.monotonic() + 20
    while not folder.log_path.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    other = int(folder.log_path.read_text())
    child.end_child()
    child.end_child()
    assert child.returncode == -signal.SIGKILL
    while psutil.pid_exists(other) and psutil.Process(other).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


_WITHOUT_STREAMS = """
import os, sys
from tui_tuner.cli import main
from tui_tuner.launch.output_capture import capture_output
sys.argv = ["tui-tuner", "presets"]
try:
    main()
except SystemExit as done:
    code = done.code
journal = open("journal", "w")
assert journal.fileno() > 2
with capture_output(None) as real:
    real.out.write("x")
    print("y")
print("z", flush=True)
for number in (1, 2):
    os.write(number, b"w")
journal.write(f"exit {code}")
"""


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_standard_streams_harm_nothing(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """As cron, or `>&-` in a shell, starts a program. What is opened next gets the lowest free number."""
    start = (
        "import os, sys\n"
        f"for number in {closed}: os.close(number)\n"
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])"
    )
    package = str(Path(child_module.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": package}
    done = subprocess.run(
        [sys.executable, "-c", start, _WITHOUT_STREAMS], cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "journal").read_text() == "exit 0"


def test_a_journal_that_cannot_be_opened_is_said_in_words(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    folder.events_path.mkdir()
    with pytest.raises(RunError, match=r"the journal cannot be written: Is a directory") as found:
        host_run(folder, CommandReceiver(folder.control_path))
    assert found.value.where == str(folder.events_path)
