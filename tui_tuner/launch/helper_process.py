"""One helper process as its parent sees it: started when it is needed, asked, and ended."""

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
from tui_tuner.launch.spawning import Child
from tui_tuner.locales import N_, _
from tui_tuner.runs.secrets import scrubber
from tui_tuner.text import human_seconds, one_line

POLL = 0.1  # seconds between two looks at whether the request was cancelled, or the process is dead
_TAIL = 8192  # bytes of its standard error that are kept
_BLOCK = 1 << 16
_MOST_READS = 1000  # blocks that are read after its death
_DOCTOR = N_("`tui-tuner doctor` says whether the libraries load.")


class ProcessEnded(RunError):
    """The helper process ended, or was ended, without an answer."""


@dataclass(frozen=True)
class Question:
    """What is asked of a process, and when not to wait any longer.

    Args:
        seconds: The time limit; None is none.
        progress: Told each progress message, in the thread that asks.
        patience: None to wait on, or how many seconds the operation has to stop by itself.
    """

    operation: str
    arguments: dict[str, Any]
    seconds: float | None
    progress: Callable[[Any], None]
    patience: Callable[[], float | None]


class Process:
    """Only who holds `turn` may use it; but any thread may call `kill`."""

    def __init__(self, also: str = "") -> None:
        self.turn = threading.Lock()
        self.resting = False  # whether it ends when its turn is over
        self._also = also
        self._child: Child | None = None
        self._lifeline: IO[bytes] | None = None
        self._reading: list[int] = []
        self._number = 0
        self._clear()

    def _clear(self) -> None:
        self._outgoing, self._incoming, self._said = b"", b"", b""

    # ---- its life ----------------------------------------------------------------------------------------

    def start(self) -> int:
        """Start it unless it is alive; returns its process id.

        Raises:
            ProcessEnded: the system starts no process.
        """
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        self.end()
        reading, writing = os.pipe()
        self._lifeline = os.fdopen(writing, "wb", buffering=0)  # nothing is ever written to it
        try:
            pipe = subprocess.PIPE
            arguments = [str(reading), str(os.getpid()), *([self._also] if self._also else [])]
            self._child = Child(
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
        self._clear()
        self._reading = [self._out, self._err]
        for end in (self._in, self._out, self._err):
            os.set_blocking(end, False)
        return self._child.pid

    def kill(self) -> None:
        """End it at once, if it is there. The thread that asks it something sees it dead."""
        child = self._child
        if child is not None:
            child.end()

    def end(self) -> None:
        """Kill it, and let go of all that belongs to it."""
        child, self._child = self._child, None
        if child is None:
            return
        child.end()
        for stream in (child.stdin, child.stdout, child.stderr, self._lifeline):
            assert stream is not None
            stream.close()
        self._reading = []

    @property
    def said(self) -> str:
        """The end of what it has written to standard error, and of what libraries printed."""
        return scrubber().text(self._said.decode("utf-8", "replace"))

    # ---- asking ------------------------------------------------------------------------------------------

    def ask(self, question: Question) -> dict[str, Any]:
        """The last message about a request: it has `result` or `error`. `start` it before.

        Raises:
            ProcessEnded: it ended without an answer, or took too long or did not stop when told to, and was
                ended.
        """
        self._number += 1
        self._send({"operation": question.operation, "arguments": question.arguments})
        limit = time.monotonic() + question.seconds if question.seconds is not None else None
        stop_by: float | None = None
        try:
            while True:
                reply = self._reply(question.progress)
                if reply is not None:
                    return reply
                now, patience = time.monotonic(), question.patience()
                if stop_by is None and patience is not None:
                    stop_by = now + patience
                    self._send({"cancel": True})
                if limit is not None and now > limit:
                    words = human_seconds(question.seconds or 0)
                    raise ProcessEnded(_("took longer than {words}, and was ended.", words=words))
                if stop_by is not None and now > stop_by:
                    raise ProcessEnded(_("did not stop when told to, and was ended."))
        except BaseException:  # also one of the caller's, who will not hear the answer then
            self.end()
            raise

    def _send(self, message: dict[str, Any]) -> None:
        self._outgoing += json.dumps({"id": self._number, **message}).encode() + b"\n"

    def _reply(self, progress: Callable[[Any], None]) -> dict[str, Any] | None:
        """The answer, if it comes within a moment; tells progress meanwhile."""
        assert self._child is not None
        dead = self._child.poll() is not None
        if dead:
            self._child.end()  # what it started may hold its ends of the pipes, and even write
        self._exchange(0 if dead else POLL)
        for _unused in range(_MOST_READS if dead else 0):
            if not self._exchange(0):
                break
        *lines, self._incoming = self._incoming.split(b"\n")
        for line in lines:
            message = self._message(line)
            if "progress" in message:
                progress(message["progress"])
            elif message:
                return message
        if dead:
            raise self._ended()
        if self._out not in self._reading:
            self._closing()
        return None

    def _closing(self) -> None:
        """It has closed its output, so it should be dead in a moment; if not, it is of no more use."""
        assert self._child is not None
        try:
            self._child.wait(1)
        except subprocess.TimeoutExpired:
            raise ProcessEnded(_("closed its output without an answer, and was ended.")) from None

    def _message(self, line: bytes) -> dict[str, Any]:
        """A line's message, if it is one about the present request."""
        try:
            message = json.loads(line)
        except ValueError:  # printed before the process had its streams in hand
            self._hear(line + b"\n")
            return {}
        return message if isinstance(message, dict) and message.get("id") == self._number else {}

    def _ended(self) -> ProcessEnded:
        """Why it is dead, in words."""
        assert self._child is not None
        death = self._child.death()
        lines = [line for line in self.said.splitlines() if line.strip()]
        what = _("its process {ended}, without an answer.", ended=death.message)
        if lines:
            what += " " + _("It said last: {line}", line=one_line(lines[-1].strip(), 200))
        return ProcessEnded(what, hint=death.hint or _(_DOCTOR))

    # ---- the pipes ---------------------------------------------------------------------------------------

    @property
    def _in(self) -> int:
        assert self._child is not None and self._child.stdin is not None
        return self._child.stdin.fileno()

    @property
    def _out(self) -> int:
        assert self._child is not None and self._child.stdout is not None
        return self._child.stdout.fileno()

    @property
    def _err(self) -> int:
        assert self._child is not None and self._child.stderr is not None
        return self._child.stderr.fileno()

    def _exchange(self, seconds: float) -> bool:
        """Write and read what can be, after waiting so long for it at most; whether there was something."""
        poller = select.poll()
        for end in self._reading:
            poller.register(end, select.POLLIN)
        if self._outgoing:
            poller.register(self._in, select.POLLOUT)
        elif not self._reading:  # it has closed its ends, and so will be dead in a moment
            time.sleep(seconds)
        ready = poller.poll(seconds * 1000)
        for end, _unused in ready:
            self._write() if end == self._in else self._read(end)
        return bool(ready)

    def _write(self) -> None:
        try:
            self._outgoing = self._outgoing[os.write(self._in, self._outgoing[:_BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            self._outgoing = b""

    def _read(self, end: int) -> None:
        block = b""
        with contextlib.suppress(OSError):
            block = os.read(end, _BLOCK)
        if not block:
            self._reading.remove(end)
        elif end == self._out:
            self._incoming += block
        else:
            self._hear(block)

    def _hear(self, block: bytes) -> None:
        self._said = (self._said + block)[-_TAIL:]
