"""Helper processes: real ones, that answer, fail, print, hang and die."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tui_tuner.errors import EXIT_DATA, DataError, RunError, UsageError
from tui_tuner.launch import helper as helper_module
from tui_tuner.launch.helper import Cancelled, Helper
from tui_tuner.launch.helper_process import ProcessEnded
from tui_tuner.launch.operations import OPERATIONS
from tui_tuner.runs.death import describe_process_exit

ROOT = Path(__file__).parents[2]
ALSO = "tests.unit.helper_operations"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations of the tests, in the child too."""
    monkeypatch.syspath_prepend(str(ROOT))
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *([before] if before else [])]))


@pytest.fixture
def helper() -> Iterator[Helper]:
    with Helper(ALSO) as made:
        yield made


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_answers_and_stays_warm(helper: Helper) -> None:
    assert helper.ask_and_wait("echo", {"a": [1, "ü\n\ud800", None]}) == {"a": [1, "ü\n\ud800", None]}
    assert helper.ask_and_wait("echo") == {}
    assert str(helper.ask_and_wait("echo", {"nan": float("nan")})["nan"]) == "nan"
    large = {"text": "x" * 3_000_000}  # more than any pipe holds
    assert helper.ask_and_wait("echo", large) == large
    first = helper.ask_and_wait("load", {"words": ["a"]})
    assert helper.ask_and_wait("pid") == first == helper.start_process("pid") != os.getpid()
    assert helper.ask_and_wait("load", {"words": ["b"]}) == first
    assert helper.ask_and_wait("chat") == {"said": 1, "loads": 2}


def test_a_chat_streams_is_cancelled_and_asked_again(helper: Helper) -> None:
    with pytest.raises(DataError, match="chat: nothing is loaded"):
        helper.ask_and_wait("chat")
    helper.ask_and_wait("load", {"words": [str(number) for number in range(100)]})
    heard: list[Any] = []
    assert helper.ask_and_wait("chat", progress=heard.append)["said"] == 100
    assert heard == [{"word": str(number)} for number in range(100)]
    heard.clear()

    def third(payload: Any) -> None:
        heard.append(payload)
        if len(heard) == 3:
            request.cancel()

    request = helper.prepare_request("chat", {"seconds": 0.1}, progress=third)
    with pytest.raises(Cancelled) as ended:
        request.wait_for_result()
    assert 3 <= len(heard) < 10 and ended.value.result == {"said": len(heard), "loads": 1}
    assert helper.ask_and_wait("chat") == {"said": 100, "loads": 1}, (
        "the process and what it had loaded are there"
    )


def test_errors_keep_their_kind_and_words(helper: Helper) -> None:
    with pytest.raises(DataError) as ours:
        helper.ask_and_wait("fail", {"ours": True})
    error = ours.value
    assert (error.what, error.where, error.hint) == ("is ␛[31mempty.", "rows.jsonl:3", "Fill it.")
    assert error.exit_code == EXIT_DATA
    with pytest.raises(RunError, match=r"fail: ZeroDivisionError: by ␛\[31m0") as other:
        helper.ask_and_wait("fail", {"ours": False})
    assert not isinstance(other.value, ProcessEnded)
    with pytest.raises(RunError, match="not JSON serializable"):
        helper.ask_and_wait("unspeakable")
    with pytest.raises(RunError, match="no_such_module") as missing:
        helper.ask_and_wait("missing")
    assert "doctor" in missing.value.hint
    with pytest.raises(UsageError, match="unknown operation 'os:system'"):
        helper.ask_and_wait("os:system")
    assert "ZeroDivisionError" in helper.read_output("fail"), "the whole traceback is kept"


def test_what_libraries_print_is_no_answer(helper: Helper) -> None:
    for _ in range(3):
        assert helper.ask_and_wait("noise") == "genuine"
    assert 0 < len(helper.read_output("noise")) <= 8192


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"code": 3}, "ended with exit code 3"),
        ({"code": "no more"}, "ended with exit code 1"),
        ({"code": 5, "hard": True}, "ended with exit code 5"),
        ({"signal": signal.SIGKILL}, r"was ended by signal 9 \(SIGKILL\)"),
        ({"signal": signal.SIGSEGV}, r"was ended by signal 11 \(SIGSEGV\)"),
    ],
)
def test_a_death_is_said_in_words_and_the_next_request_starts_another(
    helper: Helper, how: dict[str, Any], words: str
) -> None:
    first = helper.start_process("pid")
    with pytest.raises(ProcessEnded, match=f"leave: its process {words} without an answer.") as ended:
        helper.ask_and_wait("leave", how)
    assert ("no more" if how.get("code") == "no more" else "it ␛[31mhurts") in ended.value.what
    assert helper.ask_and_wait("pid") != first


def test_memory_that_ran_out_is_guessed() -> None:
    then = {"oom_kills_group": -1}
    death = describe_process_exit(-signal.SIGKILL, 2**22 + 1, then, time.time())
    counted = describe_process_exit(-signal.SIGKILL, 2**22 + 1, {}, time.time())
    assert counted.code == "signalled" and "memory" not in counted.message
    if death.code != "signalled":  # no control group can be read
        assert death.code == "maybe_oom_killer" and "memory" in death.message and death.hint
    assert describe_process_exit(-64, 1, {}, 0).message == "was ended by signal 64 (SIGRTMAX)"
    assert describe_process_exit(-40, 1, {}, 0).message == "was ended by signal 40"


def test_one_that_closes_its_output_is_ended(helper: Helper) -> None:
    first = helper.start_process("pid")
    with pytest.raises(ProcessEnded, match="closed its output"):
        helper.ask_and_wait("closes_its_output")
    assert gone(first)


@pytest.mark.parametrize("how", ["", "python", "c"])
def test_a_time_limit_ends_what_hangs(helper: Helper, how: str) -> None:
    seen: list[dict[str, int]] = []
    began = time.monotonic()
    with pytest.raises(ProcessEnded, match="took longer than 1 s"):
        helper.ask_and_wait("hang", {"how": how, "child": True}, seconds=1, progress=seen.append)
    assert time.monotonic() - began < 5
    wait_for(lambda: gone(seen[0]["pid"]) and gone(seen[0]["child"]), 2)
    assert helper.ask_and_wait("pid") != seen[0]["pid"]


def test_what_does_not_stop_is_killed(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper_module, "STOPPING", 0.5)
    request = helper.prepare_request("hang", progress=lambda _: request.cancel())
    began = time.monotonic()
    with pytest.raises(Cancelled):
        request.wait_for_result()
    assert 0.4 < time.monotonic() - began < 5 and request.pid is not None and gone(request.pid)
    early = helper.prepare_request("pid")
    early.cancel()
    with pytest.raises(Cancelled):
        early.wait_for_result()
    assert early.pid is None, "nothing is started for it"


def test_two_threads_get_their_own_answers(helper: Helper) -> None:
    found: dict[int, Any] = {}

    def ask(number: int) -> None:
        for turn in range(20):
            found[number * 100 + turn] = helper.ask_and_wait("echo", {"number": number * 100 + turn})

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 80 and all(answer == {"number": key} for key, answer in found.items())


def test_one_that_waits_for_its_turn_can_be_cancelled(helper: Helper) -> None:
    ended = []

    def ask() -> None:
        with pytest.raises(Cancelled):
            second.wait_for_result()
        ended.append(True)

    first, second = helper.prepare_request("pid", {"seconds": 2}), helper.prepare_request("pid")
    threading.Timer(0.3, lambda: thread.start()).start()
    thread = threading.Thread(target=ask)
    threading.Timer(0.6, second.cancel).start()
    threading.Timer(1.2, lambda: ended.append(len(ended) == 1)).start()
    assert first.wait_for_result() == first.pid
    thread.join(60)
    assert ended == [True, True], "it did not wait for the first"


def test_processes_by_their_names(helper: Helper) -> None:
    assert helper.ask_and_wait("pid") != helper.ask_and_wait("elsewhere") == helper.ask_and_wait("elsewhere")
    first, second = helper.prepare_request("alone"), helper.prepare_request("alone")
    assert first.wait_for_result() == first.pid != second.wait_for_result()
    assert first.pid is not None and gone(first.pid)
    warm = helper.start_process("elsewhere")
    helper.end_when_idle("elsewhere")
    assert gone(warm) and not gone(helper.start_process("pid"))
    helper.end_when_idle("elsewhere")
    assert helper.ask_and_wait("elsewhere") != warm


def test_rest_waits_for_one_that_is_busy(helper: Helper) -> None:
    request = helper.prepare_request("pid", {"seconds": 1})
    thread = threading.Thread(target=request.wait_for_result)
    thread.start()
    wait_for(lambda: request.pid)
    assert request.pid is not None
    helper.end_when_idle("pid")
    assert not gone(request.pid)
    thread.join(60)
    assert gone(request.pid)


def test_an_error_of_the_callers_leaves_nothing_behind(helper: Helper) -> None:
    first = helper.start_process("pid")

    def wrong(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        helper.ask_and_wait("hang", progress=wrong)
    assert gone(first) and helper.ask_and_wait("pid") != first


def test_closing_ends_all_and_is_for_good() -> None:
    helper = Helper(ALSO)
    seen: list[dict[str, int]] = []
    ended: list[type] = []

    def ask(operation: str) -> None:
        try:
            helper.ask_and_wait(operation, {"how": "python", "seconds": 1000}, progress=seen.append)
        except Cancelled as error:
            ended.append(type(error))

    def own() -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if child not in others]

    others = set(psutil.Process().children())  # of tests before this one: a pool's resource tracker stays
    threads = [threading.Thread(target=ask, args=(name,)) for name in ("hang", "pid", "alone", "alone")]
    for thread in threads:
        thread.start()
    wait_for(lambda: seen and len(own()) >= 3)
    children = own()
    began = time.monotonic()
    helper.close()
    assert time.monotonic() - began < 3
    for thread in threads:
        thread.join(60)
    assert ended == [Cancelled] * 4 and not any(child.is_running() for child in children)
    with pytest.raises(Cancelled):
        helper.ask_and_wait("pid")
    helper.close()


def test_no_file_descriptor_is_left() -> None:
    def count() -> int:
        gc.collect()  # an earlier test's unclosed helpers must not go in between
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(3):
        with Helper(ALSO) as helper:
            helper.ask_and_wait("pid")
            helper.ask_and_wait("alone")
            for operation, more in (
                ("leave", {"code": 1}),
                ("leave", {"signal": 9}),
                ("fail", {"ours": True}),
            ):
                with pytest.raises((RunError, DataError)):
                    helper.ask_and_wait(operation, more)
            with pytest.raises(ProcessEnded):
                helper.ask_and_wait("hang", {"child": True}, seconds=0.2)
            helper.ask_and_wait("pid")
    assert count() == before


PARENT = """
import os, sys, threading, time
from tui_tuner.launch.helper import Helper
helper = Helper("tests.unit.helper_operations")
how = sys.argv[1]
def told(said):
    if len(sys.argv) > 2 and not os.fork():
        time.sleep(60)  # holds the parent's ends of all pipes
    print(said["pid"], said["child"], flush=True)
if how == "idle":
    print(helper.start_process("pid"), 0, flush=True)
else:
    ask = lambda: helper.ask_and_wait("hang", {"how": how, "child": True}, progress=told)
    threading.Thread(target=ask, daemon=True).start()
time.sleep(60)
"""


def _killed_parent(*arguments: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout is not None
    try:
        pids = [int(word) for word in parent.stdout.readline().split()]
        time.sleep(0.3)
        assert not gone(pids[0])
        parent.kill()
        wait_for(lambda: all(gone(pid) for pid in pids if pid), 2.0)
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
        parent.stdout.close()


@pytest.mark.parametrize("how", ["idle", "sleep", "python", "c"])
def test_it_ends_with_a_killed_parent_and_takes_its_children_along(how: str) -> None:
    if how == "c" and sys.platform != "linux":
        pytest.skip("only Linux ends a process that holds the interpreter's lock")
    _killed_parent(how)


def test_it_ends_with_its_parent_though_another_process_holds_the_pipes() -> None:
    _killed_parent("python", "fork")


def test_the_operations_of_this_program_can_be_imported_and_asking_imports_none_of_them() -> None:
    for operation in OPERATIONS.values():
        assert callable(operation.import_function())
    code = "import sys, tui_tuner.launch.helper, tui_tuner.ui.rangelook, tui_tuner.launch.tracing\n"
    code += "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
