"""Commands to a run, through `control.jsonl`: any process that may write the run folder can send them."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import orjson

from tui_tuner.runs.private import may_steer, open_private

_MOST_AT_ONCE = 1 << 20  # bytes
COMMANDS = ("pause", "continue", "stop", "save", "evaluate")


def send(path: Path, command: str) -> None:
    """Append one command.

    Raises:
        ValueError: not one of `COMMANDS`.
        OSError: the run folder cannot be written, or the file of its commands is a link or no file.
    """
    if command not in COMMANDS:
        raise ValueError(f"unknown command {command!r}; known are {', '.join(COMMANDS)}")
    line = orjson.dumps({"time": time.time(), "command": command}) + b"\n"
    fd = open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line  # a torn line would take this one along
        if os.write(fd, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(fd)


class Control:
    """What the training core asks at each step boundary. Commands older than this object are passed over.

    `request` lets the same process (a signal handler) send a command without touching the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._local: list[str] = []
        self.stop_reason = ""
        self.stop_asked: float | None = None  # when this process was told to end (`time.monotonic`)
        self.refused = 0  # commands in a file that others could have written
        try:
            self._offset = path.stat().st_size
        except OSError:
            self._offset = 0

    def request(self, command: str, reason: str = "") -> None:
        """Queue a command from inside this process; safe in a signal handler's thread."""
        self._local.append(command)
        if command == "stop" and reason:
            self.stop_reason = reason
            self.stop_asked = self.stop_asked or time.monotonic()

    def poll(self) -> list[str]:
        """Commands that came since the last call, in order. One `stat` when there are none."""
        with self._lock:
            commands, self._local = self._local, []
            try:
                size = self.path.stat().st_size
                if size < self._offset:
                    self._offset = 0  # cut, or replaced
                if size > self._offset:
                    commands += self._read()
            except OSError:
                pass
            return commands

    def _read(self) -> list[str]:
        """New commands from the file; none of a file that anybody but this user could have written."""
        fd = open_private(self.path, os.O_RDONLY)
        with open(fd, "rb") as file:
            trusted = may_steer(fd)
            file.seek(self._offset)
            block = file.read(_MOST_AT_ONCE)
        whole = block.rfind(b"\n") + 1
        self._offset += whole or (len(block) if len(block) == _MOST_AT_ONCE else 0)
        found = [command for line in block[:whole].splitlines() if (command := _command(line))]
        if found and not trusted:
            self.refused += len(found)
            return []
        return found


def _command(line: bytes) -> str:
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError:
        return ""
    command = data.get("command") if isinstance(data, dict) else None
    return command if command in COMMANDS else ""
