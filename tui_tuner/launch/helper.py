"""Work that needs torch, for a process that must not import it: done in helper processes, asked over pipes.

```python
helper = Helper()                                  # starts nothing yet
request = helper.request("range_test", {"config": draft}, progress=show, seconds=3600)
found = request.wait()                             # in any thread; another may call request.cancel()
helper.close()
```

What can be asked is listed in `launch.operations`, with the process that each operation runs in. A warm
process is started by the first request, and reused: what an operation's module keeps, such as a loaded model,
is still there at the next request, as long as `request.pid` stays the same. Where it is gone, the operation
raises an error that says so.

The protocol: one JSON object a line, each way, with the id of the request. Requests are written to the
process's standard input, one at a time:

    {"id": 1, "operation": "trace", "arguments": {...}}
    {"id": 1, "cancel": true}                      any time until the answer; to be asked for by the operation

and these come from its standard output, any number of the first, then one of the other two:

    {"id": 1, "progress": ...}                     any JSON: a count, or a piece of a chat's answer
    {"id": 1, "result": ...}                       any JSON
    {"id": 1, "error": {"kind": "DataError", "what": "...", "where": "...", "hint": "...", "exit_code": 3,
                        "field": "data.path", "on_screen": "...", "fixes": [{"task": "sft"}]}}

NaN and infinities are written as Python's `json` does. Whatever libraries print to either standard stream of
the process lands in its standard error, whose end is kept for the words about its death. A line that is no
JSON is taken for such a print; one with another id is skipped.

A process that does not stop when it was cancelled, or takes longer than its limit, is killed, with all it has
started; the next request starts another. When this process ends, however it does, so do its helpers
(`launch.helper_main` says how).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tui_tuner import errors
from tui_tuner.config.advice import Hint
from tui_tuner.errors import RunError, TunerError, UsageError
from tui_tuner.launch.helper_process import POLL, Process, ProcessEnded, Question
from tui_tuner.launch.operations import ALONE, known
from tui_tuner.locales import _
from tui_tuner.text import one_line, sanitize

STOPPING = 5.0  # seconds a cancelled operation has to stop by itself
CLOSING = 1.0  # and one whose helper is closed


class Cancelled(Exception):
    """The request was cancelled, or its helper closed. `result`: what the operation had by then, or None."""

    def __init__(self, result: Any = None) -> None:
        super().__init__("cancelled")
        self.result = result


class Helper:
    """All helper processes of this one. Close it, or use `with`; it can be used from any thread.

    Args:
        also: A module with more `OPERATIONS`; of this program's own, for it is imported here and there.
    """

    def __init__(self, also: str = "") -> None:
        self._also = also
        self._operations = known(also)
        self._lock = threading.Lock()
        self._warm: dict[str, Process] = {}
        self._alone: set[Process] = set()
        self._closed = False

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    def request(
        self,
        operation: str,
        arguments: dict[str, Any] | None = None,
        *,
        progress: Callable[[Any], None] = lambda _: None,
        seconds: float | None = None,
    ) -> Request:
        """Something to be asked; `wait` asks it.

        Args:
            progress: Told each progress message, in the thread that waits.
            seconds: Time limit, from its turn on, with the start of the process. None is none.

        Raises:
            UsageError: there is no such operation.
        """
        if operation not in self._operations:
            raise UsageError(_("a helper knows no operation {operation!r}.", operation=one_line(operation)))
        return Request(self, operation, arguments or {}, progress, seconds)

    def ask(self, operation: str, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
        """`request(...).wait()`."""
        return self.request(operation, arguments, **more).wait()

    def start(self, operation: str) -> int:
        """Start the warm process of an operation, so that it is there when it is asked; returns its id."""
        with self._process(operation) as process:
            return process.start()

    def rest(self, operation: str) -> None:
        """End the warm process of an operation, once it is idle: its memory is free then."""
        with self._lock:
            process = self._warm.get(self._operations[operation].process)
        if process is None:
            return
        process.resting = True
        if process.turn.acquire(blocking=False):
            try:
                process.end()
            finally:
                process.turn.release()

    def said(self, operation: str) -> str:
        """The end of what the warm process of an operation, and libraries in it, have printed."""
        with self._lock:
            process = self._warm.get(self._operations[operation].process)
        return process.said if process is not None else ""

    def close(self) -> None:
        """End all processes; for good. Whoever waits gets `Cancelled`, after a second at most."""
        self._closed = True
        with self._lock:
            processes = [*self._warm.values(), *self._alone]
        until = time.monotonic() + CLOSING + 2 * POLL
        for process in processes:
            if process.turn.acquire(timeout=max(0.0, until - time.monotonic())):
                process.end()
                process.turn.release()
            else:  # its thread is held up elsewhere, and will find it dead
                process.kill()

    @property
    def closed(self) -> bool:
        return self._closed

    @contextmanager
    def _process(self, operation: str, given_up: Callable[[], bool] = lambda: False) -> Iterator[Process]:
        """The process of an operation, for the caller alone, once it is its turn.

        Raises:
            Cancelled: given up, or closed, before.
        """
        name = self._operations[operation].process
        with self._lock:
            process = (
                Process(self._also) if name == ALONE else self._warm.setdefault(name, Process(self._also))
            )
            if name == ALONE:
                self._alone.add(process)
        while not process.turn.acquire(timeout=POLL / 2):
            if given_up() or self._closed:
                raise Cancelled
        try:
            if given_up() or self._closed:
                raise Cancelled
            process.resting = False
            yield process
        finally:
            if name == ALONE or process.resting:
                process.end()
            self._alone.discard(process)
            process.turn.release()


class Request:
    """One thing that is asked. Made by `Helper.request`; to be waited for once."""

    def __init__(
        self,
        helper: Helper,
        operation: str,
        arguments: dict[str, Any],
        progress: Callable[[Any], None],
        seconds: float | None,
    ) -> None:
        self.pid: int | None = None  # the process that works at it, once it does
        self._helper = helper
        self._operation = operation
        self._arguments = arguments
        self._progress = progress
        self._seconds = seconds
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Ask for its end, from any thread, before or while it is waited for. Returns at once."""
        self._cancelled = True

    def wait(self) -> Any:
        """Ask, and wait for the result.

        Raises:
            TunerError: the operation's own, of the same kind, with what, where, hint and exit code.
            RunError: the operation raised anything else.
            ProcessEnded: the process died, or was killed because it took too long.
            Cancelled: `cancel` was called, or the helper closed.
        """
        question = Question(self._operation, self._arguments, self._seconds, self._progress, self._patience)
        try:
            with self._helper._process(self._operation, lambda: self._cancelled) as process:
                self.pid = process.start()
                reply = process.ask(question)
        except ProcessEnded as error:
            if self._patience() is not None:
                raise Cancelled from None
            raise ProcessEnded(error.what, where=self._title, hint=error.hint) from None
        if self._patience() is not None:
            raise Cancelled(reply.get("result"))
        if "error" in reply:
            raise rebuilt(reply["error"], self._title)
        return reply.get("result")

    def _patience(self) -> float | None:
        if self._helper.closed:
            return CLOSING
        return STOPPING if self._cancelled else None

    @property
    def _title(self) -> str:
        return self._operation.replace("_", " ")


def rebuilt(error: dict[str, Any], title: str) -> TunerError:
    """The error that an operation raised, as it came over the pipe."""
    kind, what = str(error.get("kind")), sanitize(error.get("what", ""))
    if error.get("exit_code") is None:  # none of ours
        missing = kind in ("ImportError", "ModuleNotFoundError")
        hint = _("Check the installation with `tui-tuner doctor`.") if missing else ""
        return RunError(f"{one_line(kind)}: {one_line(what, 400)}", where=title, hint=hint)
    found = getattr(errors, kind, TunerError)
    hint = sanitize(error.get("hint", ""))
    shown = sanitize(error.get("on_screen") or hint)
    made = (found if isinstance(found, type) and issubclass(found, TunerError) else TunerError)(
        what,
        where=sanitize(error.get("where", "")),
        hint=Hint(hint, shown, tuple(error.get("fixes") or ())),
        field=sanitize(error.get("field", "")),
    )
    made.exit_code = int(error["exit_code"])
    return made
