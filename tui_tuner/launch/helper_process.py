"""A helper process on the parent's side: starting it on demand, asking it, and ending it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from tui_tuner.errors import RunError
from tui_tuner.launch.spawning import ChildProcess
from tui_tuner.locales import N_, _
from tui_tuner.runs.secrets import get_current_scrubber
from tui_tuner.text import format_seconds, one_line

POLL = 0.1  # seconds between two checks for cancelling and for the process's death
_TAIL = 8192  # bytes of its standard error that are kept
_BLOCK = 1 << 16
_MOST_READS = 1000  # blocks read after its death
_DOCTOR = N_("`tui-tuner doctor` checks whether the libraries load.")


class ProcessEnded(RunError):
    """The helper process ended or was killed without an answer."""


@dataclass(frozen=True)
class Question:
    """A question to a process, and how long to wait for the answer.

    Args:
        seconds: The time limit; None for no limit.
        progress: Called with each progress message, in the asking thread.
        patience: Returns None to keep waiting, or the seconds that the operation has to stop by itself.
    """

    operation: str
    arguments: dict[str, Any]
    seconds: float | None
    progress: Callable[[Any], None]
    patience: Callable[[], float | None]


class HelperProcess:
    """A helper process; only the thread that holds `turn` may use it, but any thread may call
    `kill_process`.
    """

    def __init__(self, also: str = "") -> None:
        self.turn = threading.Lock()
        self.resting = False  # whether to end it after the current turn
        self._also = also
        self._child: ChildProcess | None = None
        self._lifeline: IO[bytes] | None = None
        self._reading: list[int] = []
        self._number = 0
        self._clear_buffers()

    def _clear_buffers(self) -> None:
        self._outgoing, self._incoming, self._said = b"", b"", b""

    # ---- starting and ending
    # ----------------------------------------------------------------------------------------

    def start_process(self) -> int:
        """Start the process unless it is alive; return its process id.

        Raises:
            ProcessEnded: the process cannot be started.
        """
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        self.end_process()
        # Its write end is closed by the kernel when this process ends, however that happens
        reading, writing = os.pipe()
        self._lifeline = os.fdopen(
            writing, "wb", buffering=0
        )  # nothing is ever written to it: it only has to be open
        try:
            pipe = subprocess.PIPE
            arguments = [str(reading), str(os.getpid()), *([self._also] if self._also else [])]
            self._child = ChildProcess(
                "tui_tuner.launch.helper_main",
                *arguments,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                keep=(reading,),
            )
        except OSError as error:
            self._lifeline.close()
            raise ProcessEnded(_("no process can be started: {problem}.", problem=error.strerror)) from None
        finally:
            os.close(reading)
        self._clear_buffers()
        self._reading = [self._stdout_fd, self._stderr_fd]
        for end in (self._stdin_fd, self._stdout_fd, self._stderr_fd):
            # A process that does not read must not block this one while it writes
            os.set_blocking(end, False)
        return self._child.pid

    def kill_process(self) -> None:
        """Kill the process from any thread; a thread that is waiting for an answer finds it dead."""
        child = self._child
        if child is not None:
            child.end_child()

    def end_process(self) -> None:
        """Kill the process, and close its pipes."""
        child, self._child = self._child, None
        if child is None:
            return
        child.end_child()
        for stream in (child.stdin, child.stdout, child.stderr, self._lifeline):
            assert stream is not None
            stream.close()
        self._reading = []

    @property
    def error_output(self) -> str:
        """Return the end of its standard error, which includes the output of libraries."""
        return get_current_scrubber().mask_text(self._said.decode("utf-8", "replace"))

    # ---- asking ------------------------------------------------------------------------------------------

    def ask_question(self, question: Question) -> dict[str, Any]:
        """Send a question and return the final message, with `result` or `error`. Call `start_process` first.

        Raises:
            ProcessEnded: it ended without an answer, or was killed because it took too long or did not stop
                when told to.
        """
        self._number += 1
        self._queue_message({"operation": question.operation, "arguments": question.arguments})
        limit = time.monotonic() + question.seconds if question.seconds is not None else None
        stop_by: float | None = None
        try:
            while True:
                reply = self._await_reply(question.progress)
                if reply is not None:
                    return reply
                now, patience = time.monotonic(), question.patience()
                if stop_by is None and patience is not None:
                    stop_by = now + patience
                    self._queue_message({"cancel": True})
                if limit is not None and now > limit:
                    words = format_seconds(question.seconds or 0)
                    raise ProcessEnded(_("took longer than {words} and was stopped.", words=words))
                if stop_by is not None and now > stop_by:
                    raise ProcessEnded(_("did not stop when asked to, and was killed."))
        except BaseException:
            # Also from the caller's own callbacks, as the answer would then go unread
            self.end_process()
            raise

    def _queue_message(self, message: dict[str, Any]) -> None:
        self._outgoing += json.dumps({"id": self._number, **message}).encode() + b"\n"

    def _await_reply(self, progress: Callable[[Any], None]) -> dict[str, Any] | None:
        """Return the answer if it arrives within `POLL`; pass on progress messages."""
        assert self._child is not None
        dead = self._child.poll() is not None
        if dead:
            # Processes that it started may hold its pipes open and write to them
            self._child.end_child()
        self._exchange_blocks(0 if dead else POLL)
        for _unused in range(_MOST_READS if dead else 0):
            if not self._exchange_blocks(0):
                break
        *lines, self._incoming = self._incoming.split(b"\n")
        for line in lines:
            message = self._parse_message(line)
            if "progress" in message:
                progress(message["progress"])
            elif message:
                return message
        if dead:
            raise self._describe_end()
        if self._stdout_fd not in self._reading:
            self._await_closing()
        return None

    def _await_closing(self) -> None:
        """Wait a second for the end of a process that has closed its output; kill it otherwise."""
        assert self._child is not None
        try:
            self._child.wait(1)
        except subprocess.TimeoutExpired:
            raise ProcessEnded(_("closed its output without an answer, and was killed.")) from None

    def _parse_message(self, line: bytes) -> dict[str, Any]:
        """Parse a line; return an empty message if it is not about the current request."""
        try:
            message = json.loads(line)
        except ValueError:
            # Printed before the process redirected its streams
            self._keep_output(line + b"\n")
            return {}
        return message if isinstance(message, dict) and message.get("id") == self._number else {}

    def _describe_end(self) -> ProcessEnded:
        """Describe how the process died, with its last line of output."""
        assert self._child is not None
        death = self._child.describe_death()
        lines = [line for line in self.error_output.splitlines() if line.strip()]
        what = _("its process {ended} without an answer.", ended=death.message)
        if lines:
            what += " " + _("Its last output: {line}", line=one_line(lines[-1].strip(), 200))
        return ProcessEnded(what, hint=death.hint or _(_DOCTOR))

    # ---- the pipes ---------------------------------------------------------------------------------------

    @property
    def _stdin_fd(self) -> int:
        assert self._child is not None and self._child.stdin is not None
        return self._child.stdin.fileno()

    @property
    def _stdout_fd(self) -> int:
        assert self._child is not None and self._child.stdout is not None
        return self._child.stdout.fileno()

    @property
    def _stderr_fd(self) -> int:
        assert self._child is not None and self._child.stderr is not None
        return self._child.stderr.fileno()

    def _exchange_blocks(self, seconds: float) -> bool:
        """Write and read what is possible, waiting at most so long; return whether there was anything."""
        poller = select.poll()
        for end in self._reading:
            poller.register(end, select.POLLIN)
        if self._outgoing:
            poller.register(self._stdin_fd, select.POLLOUT)
        elif not self._reading:
            # Its pipes are closed, so it will be dead in a moment
            time.sleep(seconds)
        ready = poller.poll(seconds * 1000)
        for end, _unused in ready:
            self._write_block() if end == self._stdin_fd else self._read_block(end)
        return bool(ready)

    def _write_block(self) -> None:
        try:
            # In blocks: the process may only read while we read its answers
            self._outgoing = self._outgoing[os.write(self._stdin_fd, self._outgoing[:_BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:
            # The process no longer reads
            self._outgoing = b""

    def _read_block(self, end: int) -> None:
        block = b""
        with contextlib.suppress(OSError):
            block = os.read(end, _BLOCK)
        if not block:
            self._reading.remove(end)
        elif end == self._stdout_fd:
            self._incoming += block
        else:
            self._keep_output(block)

    def _keep_output(self, block: bytes) -> None:
        self._said = (self._said + block)[-_TAIL:]
