"""Operations for `test_helper.py`, done in real helper processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tui_tuner.errors import DataError
from tui_tuner.launch.operations import ALONE, Operation

Progress = Callable[[Any], None]
Cancelled = Callable[[], bool]
_kept: dict[str, Any] = {"loads": 0}


def echo(arguments: dict[str, Any], progress: Progress, cancelled: Cancelled) -> Any:
    return arguments


def load(arguments: dict[str, Any], progress: Progress, cancelled: Cancelled) -> int:
    _kept["loads"] += 1
    _kept["words"] = arguments["words"]
    return os.getpid()


def chat(arguments: dict[str, Any], progress: Progress, cancelled: Cancelled) -> dict[str, Any]:
    """Streams the loaded words, for ever if `seconds` a word are given, until it is cancelled."""
    if "words" not in _kept:
        raise DataError("nothing is loaded.", where="chat")
    said = 0
    for word in _kept["words"]:
        if cancelled():
            break
        progress({"word": word})
        said += 1
        time.sleep(arguments.get("seconds", 0))
    return {"said": said, "loads": _kept["loads"]}


def fail(arguments: dict[str, Any], progress: Progress, cancelled: Cancelled) -> None:
    if arguments["ours"]:
        raise DataError("is \x1b[31mempty.", where="rows.jsonl:3", hint="Fill it.")
    raise ZeroDivisionError("by \x1b[31m0")


def unspeakable(arguments: dict[str, Any], progress: Progress, cancelled: Cancelled) -> object:
    return object()


def noise(arguments: dict[str, Any], progress: Progress, cancelled: Cancelled) -> str:
    sys.stdout.write('{"id": 1, "result": "forged"}\n')
    sys.stdout.flush()
    os.write(1, b'{"id": 2, "result": "forged"}\n')
    subprocess.run(["echo", '{"id": 3, "result": "forged"}'], check=True)
    sys.stderr.write("x" * 300_000 + "\n")
    return "genuine" + (sys.stdin.read() or os.read(0, 10).decode())


def leave(arguments: dict[str, Any], progress: Progress, cancelled: Cancelled) -> None:
    sys.stderr.write("Traceback\nit \x1b[31mhurts\n\n")
    if arguments.get("signal"):
        os.kill(os.getpid(), arguments["signal"])
    if arguments.get("hard"):
        os._exit(arguments["code"])
    sys.exit(arguments["code"])


def hang(arguments: dict[str, Any], progress: Progress, cancelled: Cancelled) -> None:
    """Never ends: in Python, or in one call of C that lets no other thread run; with a child, if asked."""
    child = subprocess.Popen(["sleep", "1000"]).pid if arguments.get("child") else 0
    progress({"pid": os.getpid(), "child": child})
    if arguments.get("how") == "python":
        while True:
            sum(range(1000))
    if arguments.get("how") == "c":
        sum(range(10**15))
    signal.pause()


def pid(arguments: dict[str, Any], progress: Progress, cancelled: Cancelled) -> int:
    time.sleep(arguments.get("seconds", 0))
    return os.getpid()


def closes_its_output(arguments: dict[str, Any], progress: Progress, cancelled: Cancelled) -> None:
    for fd in range(3, 100):
        with contextlib.suppress(OSError):
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_WRONLY:
                os.close(fd)
    time.sleep(1000)


_HERE = "tests.unit.helper_operations"
OPERATIONS = {
    name: Operation(f"{_HERE}:{name}")
    for name in ("echo", "load", "chat", "fail", "unspeakable", "noise", "leave", "hang", "pid")
}
OPERATIONS["closes_its_output"] = Operation(f"{_HERE}:closes_its_output")
OPERATIONS["elsewhere"] = Operation(f"{_HERE}:pid", process="elsewhere")
OPERATIONS["alone"] = Operation(f"{_HERE}:pid", process=ALONE)
OPERATIONS["missing"] = Operation("tests.unit.no_such_module:missing")
