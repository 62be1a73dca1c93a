"""`python -m tui_tuner.launch.helper_main LIFELINE PARENT [MODULE]`: the other end of `launch.helper`.

Answers requests one at a time on the main thread; a second thread reads further messages meanwhile. It knows
the operations of `launch.operations` and those of MODULE.

It ends, together with everything it has started, when its parent does, by three means. First, a pipe whose
read end is the file descriptor LIFELINE: on Linux the kernel kills this process's group once the write end is
closed, even inside a C function that holds the interpreter. Second, the end of its standard input. Third,
PARENT, a process id, as another process may have inherited the other ends of its pipes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from tui_tuner.config.advice import format_screen_hint, list_hint_fixes
from tui_tuner.errors import EXIT_FAILED, TunerError, UsageError
from tui_tuner.launch.environment import prepare_environment
from tui_tuner.launch.operations import Operation, list_operations
from tui_tuner.locales import _

PARENT_POLL = 0.5  # seconds between two checks that the parent is alive
_LONGEST = 4000  # characters of an error's text


@dataclass
class PendingRequest:
    """A request, with the event that cancels it."""

    id: int
    operation: str
    arguments: dict[str, Any]
    cancel: threading.Event = field(default_factory=threading.Event)


class RequestServer:
    """Reads requests from one file descriptor and writes answers to another."""

    def __init__(self, requests: int, answers: int, parent: int, operations: Mapping[str, Operation]) -> None:
        self._requests, self._answers, self._parent = requests, answers, parent
        self._operations = operations
        self._inbox: SimpleQueue[PendingRequest] = SimpleQueue()
        self._speaking = threading.Lock()

    def serve_forever(self) -> None:
        """Answer requests forever; the process ends with its parent."""
        threading.Thread(target=self._listen_for_messages, name="requests", daemon=True).start()
        while True:
            self._answer_request(self._inbox.get())

    # ---- the second thread -----------------------------------------------------------------------------

    def _listen_for_messages(self) -> None:
        # Holds only the newest one, as requests come one at a time
        jobs: dict[int, PendingRequest] = {}
        # A message that the parent cannot have written: end
        with contextlib.suppress(OSError, ValueError, KeyError):
            for line in self._read_lines():
                message = json.loads(line)
                if "operation" in message:
                    job = PendingRequest(message["id"], message["operation"], message["arguments"])
                    jobs = {job.id: job}
                    self._inbox.put(job)
                elif message["id"] in jobs:
                    jobs[message["id"]].cancel.set()
        end_process_group()

    def _read_lines(self) -> Iterator[bytes]:
        """Yield lines from the parent until it ends."""
        rest = b""
        while True:
            ready, _unused, _unused = select.select([self._requests], [], [], PARENT_POLL)
            # An orphan gets another parent, even if some other process keeps the pipes open
            if os.getppid() != self._parent:
                return
            if ready:
                block = os.read(self._requests, 1 << 16)
                if not block:
                    return
                *whole, rest = (rest + block).split(b"\n")
                yield from whole

    # ---- the main thread -------------------------------------------------------------------------------

    def _answer_request(self, job: PendingRequest) -> None:
        def send_progress(payload: Any) -> None:
            self._send_message(job, "progress", payload)

        try:
            if job.operation not in self._operations:
                raise UsageError(_("unknown operation {operation!r}.", operation=job.operation))
            answer = self._operations[job.operation].import_function()
            self._send_message(job, "result", answer(job.arguments, send_progress, job.cancel.is_set))
        except SystemExit as error:
            _exit_at_once(error)
        except BaseException as error:
            # Of any kind: the parent waits for an answer
            # Our own errors explain themselves; of others the traceback helps to find the bug
            if not isinstance(error, TunerError):
                traceback.print_exc()
            self._send_message(job, "error", describe_helper_error(error))

    def _send_message(self, job: PendingRequest, kind: str, payload: Any) -> None:
        block = json.dumps({"id": job.id, kind: payload}).encode() + b"\n"
        with self._speaking:
            try:
                while block:
                    # A pipe may take only part of a large answer at a time
                    block = block[os.write(self._answers, block) :]
            except OSError:
                # The parent has closed its end
                end_process_group()


def describe_helper_error(error: BaseException) -> dict[str, Any]:
    """Convert an error to JSON: its class, what, where, hint, field and exit code."""
    kind, text = type(error).__name__, str(error)
    if isinstance(error, TunerError):
        more = {
            "where": error.where,
            "hint": error.hint,
            "on_screen": format_screen_hint(error.hint),
            "fixes": list_hint_fixes(error.hint),
            "field": error.field,
            "exit_code": error.exit_code,
        }
        return {"kind": kind, "what": error.what, **more}
    return {"kind": kind, "what": text[:_LONGEST], "exit_code": None}


def _exit_at_once(error: SystemExit) -> None:
    """Exit as `sys.exit` would, but without waiting for threads that an operation has left running."""
    if isinstance(error.code, str):
        sys.stderr.write(error.code + "\n")
    sys.stderr.flush()
    os._exit(error.code if isinstance(error.code, int) else EXIT_FAILED if error.code else 0)


def end_process_group() -> None:
    """End this process and, if it leads a process group, everything in that group."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(EXIT_FAILED)


def _end_with_lifeline(lifeline: int) -> None:
    """Let the kernel kill this process's group when the other end of a pipe closes; Linux only."""
    os.set_inheritable(lifeline, False)
    if sys.platform == "linux" and os.getpgrp() == os.getpid():
        # A negative owner is a process group: its processes get the signal when the pipe becomes readable
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | fcntl.FASYNC)
        # The other end was closed before the signal was set up
        if select.select([lifeline], [], [], 0)[0]:
            end_process_group()


def _take_streams() -> tuple[int, int]:
    """Keep private copies of standard input and output; what libraries print goes to standard error."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, answers


def serve_helper(arguments: list[str]) -> None:
    """Serve requests until the parent ends; see the module docstring."""
    requests, answers = _take_streams()
    _end_with_lifeline(int(arguments[0]))
    prepare_environment()
    operations = list_operations(*arguments[2:])
    RequestServer(requests, answers, int(arguments[1]), operations).serve_forever()


if __name__ == "__main__":
    serve_helper(sys.argv[1:])
