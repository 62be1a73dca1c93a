"""`python -m tui_tuner.launch.helper_main LIFELINE PARENT [MODULE]`: the other end of `launch.helper`.

Answers requests, one at a time, on the main thread; a second thread reads what is asked meanwhile. It knows
the operations of `launch.operations`, and those of MODULE, which only whoever starts this process can name.

It ends, together with all that it has started, when its parent does. Three things see to it. First a pipe,
whose read end is the file descriptor LIFELINE: on Linux the kernel itself kills this process's group once the
write end is closed, so it ends also inside a C function that lets no other thread run. Then the end of its
standard input. And PARENT, a process id, for another process may have inherited the ends of its pipes.
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

from tui_tuner.config.advice import fixes_of, on_screen
from tui_tuner.errors import EXIT_FAILED, TunerError, UsageError
from tui_tuner.launch.environment import prepare_environment
from tui_tuner.launch.operations import Operation, known
from tui_tuner.locales import _

PARENT_POLL = 0.5  # seconds between two looks at whether the parent is still there
_LONGEST = 4000  # characters of an error's text


@dataclass
class Job:
    """One request."""

    id: int
    operation: str
    arguments: dict[str, Any]
    cancel: threading.Event = field(default_factory=threading.Event)


class Server:
    """Reads from one file descriptor and answers on another."""

    def __init__(self, requests: int, answers: int, parent: int, operations: Mapping[str, Operation]) -> None:
        self._requests, self._answers, self._parent = requests, answers, parent
        self._operations = operations
        self._inbox: SimpleQueue[Job] = SimpleQueue()
        self._speaking = threading.Lock()

    def run(self) -> None:
        """Answer for ever; the process ends with its parent."""
        threading.Thread(target=self._listen, name="requests", daemon=True).start()
        while True:
            self._do(self._inbox.get())

    # ---- the second thread -----------------------------------------------------------------------------

    def _listen(self) -> None:
        jobs: dict[int, Job] = {}  # the newest one only: requests come one at a time
        with contextlib.suppress(OSError, ValueError, KeyError):  # not what our parent would say: it is over
            for line in self._lines():
                message = json.loads(line)
                if "operation" in message:
                    job = Job(message["id"], message["operation"], message["arguments"])
                    jobs = {job.id: job}
                    self._inbox.put(job)
                elif message["id"] in jobs:
                    jobs[message["id"]].cancel.set()
        end_group()

    def _lines(self) -> Iterator[bytes]:
        """Lines from the parent, until it is gone."""
        rest = b""
        while True:
            ready, _unused, _unused = select.select([self._requests], [], [], PARENT_POLL)
            if os.getppid() != self._parent:
                return
            if ready:
                block = os.read(self._requests, 1 << 16)
                if not block:
                    return
                *whole, rest = (rest + block).split(b"\n")
                yield from whole

    # ---- the main thread -------------------------------------------------------------------------------

    def _do(self, job: Job) -> None:
        def progress(payload: Any) -> None:
            self._say(job, "progress", payload)

        try:
            if job.operation not in self._operations:
                raise UsageError(_("a helper knows no operation {operation!r}.", operation=job.operation))
            answer = self._operations[job.operation].load()
            self._say(job, "result", answer(job.arguments, progress, job.cancel.is_set))
        except SystemExit as error:
            _leave(error)
        except BaseException as error:  # whatever it is, whoever asked has to hear of it
            if not isinstance(error, TunerError):
                traceback.print_exc()
            self._say(job, "error", described(error))

    def _say(self, job: Job, kind: str, payload: Any) -> None:
        block = json.dumps({"id": job.id, kind: payload}).encode() + b"\n"
        with self._speaking:
            try:
                while block:
                    block = block[os.write(self._answers, block) :]
            except OSError:  # nobody listens
                end_group()


def described(error: BaseException) -> dict[str, Any]:
    """An error as JSON: its kind, what, where, hint, field and exit code."""
    kind, text = type(error).__name__, str(error)
    if isinstance(error, TunerError):
        more = {
            "where": error.where,
            "hint": error.hint,
            "on_screen": on_screen(error.hint),
            "fixes": fixes_of(error.hint),
            "field": error.field,
            "exit_code": error.exit_code,
        }
        return {"kind": kind, "what": error.what, **more}
    return {"kind": kind, "what": text[:_LONGEST], "exit_code": None}


def _leave(error: SystemExit) -> None:
    """What `sys.exit` means, but without waiting for threads that an operation has left."""
    if isinstance(error.code, str):
        sys.stderr.write(error.code + "\n")
    sys.stderr.flush()
    os._exit(error.code if isinstance(error.code, int) else EXIT_FAILED if error.code else 0)


def end_group() -> None:
    """End this process and, where it leads a session, all that it has started in it."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(EXIT_FAILED)


def _end_with(lifeline: int) -> None:
    """Let the kernel kill this process's group when the other end of a pipe is closed; Linux only."""
    os.set_inheritable(lifeline, False)
    if sys.platform == "linux" and os.getpgrp() == os.getpid():
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | fcntl.FASYNC)
        if select.select([lifeline], [], [], 0)[0]:  # it was closed before
            end_group()


def _own_streams() -> tuple[int, int]:
    """Copies of standard input and output for us alone; what libraries print goes to standard error."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, answers


def main(arguments: list[str]) -> None:
    """See the module's own text."""
    requests, answers = _own_streams()
    _end_with(int(arguments[0]))
    prepare_environment()
    operations = known(*arguments[2:])
    Server(requests, answers, int(arguments[1]), operations).run()


if __name__ == "__main__":
    main(sys.argv[1:])
