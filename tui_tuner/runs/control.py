"""Send commands to a run through `control.jsonl`: any process that may write the run folder can do so."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import orjson

from tui_tuner.runs.private_files import is_file_trusted, open_private

_MOST_AT_ONCE = 1 << 20  # bytes
COMMANDS = ("pause", "continue", "stop", "save", "evaluate")


def send_control_command(path: Path, command: str) -> None:
    """Append one command to the file.

    Raises:
        ValueError: not one of `COMMANDS`.
        OSError: the run folder cannot be written, or `control.jsonl` is a link or not a file.
    """
    if command not in COMMANDS:
        raise ValueError(f"unknown command {command!r}; known are {', '.join(COMMANDS)}")
    line = orjson.dumps({"time": time.time(), "command": command}) + b"\n"
    fd = open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        size = os.fstat(fd).st_size
        # The last line is incomplete; without a newline this command would become part of it.
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(fd, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(fd)


class CommandReceiver:
    """Receives commands for the training core at each step boundary. Commands older than this object are
    skipped.

    `request_command` lets the same process (a signal handler) send a command without touching the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._local: list[str] = []
        self.stop_reason = ""
        self.stop_asked: float | None = None  # when this process was asked to end (`time.monotonic`)
        self.refused = 0  # commands in a file that others could have written
        try:
            self._offset = path.stat().st_size
        except OSError:
            self._offset = 0

    def request_command(self, command: str, reason: str = "") -> None:
        """Queue a command from inside this process; safe in a signal handler's thread."""
        self._local.append(command)
        if command == "stop" and reason:
            self.stop_reason = reason
            self.stop_asked = self.stop_asked or time.monotonic()

    def poll_commands(self) -> list[str]:
        """Return the commands since the last call, in order. Costs one `stat` when there are none."""
        with self._lock:
            commands, self._local = self._local, []
            try:
                size = self.path.stat().st_size
                if size < self._offset:
                    self._offset = 0  # truncated or replaced
                if size > self._offset:
                    commands += self._read_commands()
            except OSError:
                pass
            return commands

    def _read_commands(self) -> list[str]:
        """Read new commands from the file; none if somebody else could have written it."""
        fd = open_private(self.path, os.O_RDONLY)
        with open(fd, "rb") as file:
            trusted = is_file_trusted(fd)
            file.seek(self._offset)
            block = file.read(_MOST_AT_ONCE)
        whole = block.rfind(b"\n") + 1
        # A full block without a newline is no command; without this step it would be read for ever.
        self._offset += whole or (len(block) if len(block) == _MOST_AT_ONCE else 0)
        found = [command for line in block[:whole].splitlines() if (command := _parse_command(line))]
        if found and not trusted:
            self.refused += len(found)
            return []
        return found


def _parse_command(line: bytes) -> str:
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError:
        return ""
    command = data.get("command") if isinstance(data, dict) else None
    return command if command in COMMANDS else ""
