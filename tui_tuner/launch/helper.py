"""Runs work that needs torch in helper processes, for a process that must not import it.

```python
helper = Helper()                                  # starts no process yet
request = helper.prepare_request("range_test", {"config": draft}, progress=show, seconds=3600)
found = request.wait_for_result()                  # in any thread; another may call request.cancel()
helper.close()
```

`launch.operations` lists the operations and the process that each of them runs in. A warm process is started
by the first request and reused: what an operation's module keeps, such as a loaded model, is still available
at the next request, as long as `request.pid` stays the same. If it is lost, the operation raises an error.

The protocol: one JSON object per line in each direction, with the id of the request. Requests are written to
the process's standard input, one at a time:

    {"id": 1, "operation": "trace", "arguments": {...}}
    {"id": 1, "cancel": true}                      any time until the answer; the operation checks for it

Its standard output returns any number of the first of these, then one of the other two:

    {"id": 1, "progress": ...}                     any JSON: a count, or a piece of a chat's answer
    {"id": 1, "result": ...}                       any JSON
    {"id": 1, "error": {"kind": "DataError", "what": "...", "where": "...", "hint": "...", "exit_code": 3,
                        "field": "data.path", "on_screen": "...", "fixes": [{"task": "sft"}]}}

NaN and infinities are written as by Python's `json`. Anything that libraries print goes to the process's
standard error, whose end is kept for the message about its death. A line that is not JSON is treated as such
output; one with another id is skipped.

A process that does not stop after it was cancelled, or exceeds its time limit, is killed with everything it
has started; the next request starts a new one. When this process ends in any way, its helpers end, too (see
`launch.helper_main`).
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
from tui_tuner.launch.helper_process import POLL, HelperProcess, ProcessEnded, Question
from tui_tuner.launch.operations import ALONE, list_operations
from tui_tuner.locales import _
from tui_tuner.text import one_line, sanitize

STOPPING = 5.0  # seconds for a cancelled operation to stop by itself
CLOSING = 1.0  # seconds for an operation whose helper is closed


class Cancelled(Exception):
    """The request was cancelled or its helper closed. `result`: the operation's result so far, or None."""

    def __init__(self, result: Any = None) -> None:
        super().__init__("cancelled")
        self.result = result


class Helper:
    """Manages the helper processes of this process. Close it or use `with`; it can be used from any thread.

    Args:
        also: A module of this program with more `OPERATIONS`; it is imported in both processes.
    """

    def __init__(self, also: str = "") -> None:
        self._also = also
        self._operations = list_operations(also)
        self._lock = threading.Lock()
        self._warm: dict[str, HelperProcess] = {}
        self._alone: set[HelperProcess] = set()
        self._closed = False

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    def prepare_request(
        self,
        operation: str,
        arguments: dict[str, Any] | None = None,
        *,
        progress: Callable[[Any], None] = lambda _: None,
        seconds: float | None = None,
    ) -> Request:
        """Prepare a request; its `wait_for_result` sends it.

        Args:
            progress: Called with each progress message, in the waiting thread.
            seconds: Time limit from the start of its turn, including the start of the process; None for no
                limit.

        Raises:
            UsageError: the operation is unknown.
        """
        if operation not in self._operations:
            raise UsageError(_("unknown operation {operation!r}.", operation=one_line(operation)))
        return Request(self, operation, arguments or {}, progress, seconds)

    def ask_and_wait(self, operation: str, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
        """Send a request and wait for its result: `prepare_request(...).wait()`."""
        return self.prepare_request(operation, arguments, **more).wait_for_result()

    def start_process(self, operation: str) -> int:
        """Start the warm process of an operation before its first request; return its process id."""
        with self._reserve_process(operation) as process:
            return process.start_process()

    def end_when_idle(self, operation: str) -> None:
        """End the warm process of an operation once it is idle, to free its memory."""
        with self._lock:
            process = self._warm.get(self._operations[operation].process)
        if process is None:
            return
        # If the process is busy, `_reserve_process` ends it after its turn
        process.resting = True
        if process.turn.acquire(blocking=False):
            try:
                process.end_process()
            finally:
                process.turn.release()

    def read_output(self, operation: str) -> str:
        """Return the end of the output of an operation's warm process and its libraries."""
        with self._lock:
            process = self._warm.get(self._operations[operation].process)
        return process.error_output if process is not None else ""

    def close(self) -> None:
        """End all processes for good. Waiting requests raise `Cancelled` within about a second."""
        self._closed = True
        with self._lock:
            processes = [*self._warm.values(), *self._alone]
        until = time.monotonic() + CLOSING + 2 * POLL
        for process in processes:
            if process.turn.acquire(timeout=max(0.0, until - time.monotonic())):
                process.end_process()
                process.turn.release()
            else:
                # The thread that uses it is busy elsewhere, and will find it dead
                process.kill_process()

    @property
    def is_closed(self) -> bool:
        return self._closed

    @contextmanager
    def _reserve_process(
        self, operation: str, given_up: Callable[[], bool] = lambda: False
    ) -> Iterator[HelperProcess]:
        """Reserve the process of an operation for the caller, waiting for its turn.

        Raises:
            Cancelled: given up or closed while waiting.
        """
        name = self._operations[operation].process
        with self._lock:
            process = (
                HelperProcess(self._also)
                if name == ALONE
                else self._warm.setdefault(name, HelperProcess(self._also))
            )
            if name == ALONE:
                self._alone.add(process)
        # With a timeout, so that a cancelled request does not wait for the one before it
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
                process.end_process()
            self._alone.discard(process)
            process.turn.release()


class Request:
    """A request to a helper process, made by `Helper.prepare_request`; `wait_for_result` for it once."""

    def __init__(
        self,
        helper: Helper,
        operation: str,
        arguments: dict[str, Any],
        progress: Callable[[Any], None],
        seconds: float | None,
    ) -> None:
        self.pid: int | None = None  # the process that works on it, once one does
        self._helper = helper
        self._operation = operation
        self._arguments = arguments
        self._progress = progress
        self._seconds = seconds
        self._cancelled = False

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Cancel it from any thread, before or during `wait_for_result`. Returns at once."""
        self._cancelled = True

    def wait_for_result(self) -> Any:
        """Send the request and wait for its result.

        Raises:
            TunerError: raised by the operation; of the same class, with what, where, hint and exit code.
            RunError: the operation raised any other exception.
            ProcessEnded: the process died, or was killed because it took too long.
            Cancelled: `cancel` was called or the helper closed.
        """
        question = Question(
            self._operation, self._arguments, self._seconds, self._progress, self._find_patience
        )
        try:
            with self._helper._reserve_process(self._operation, lambda: self._cancelled) as process:
                self.pid = process.start_process()
                reply = process.ask_question(question)
        except ProcessEnded as error:
            if self._find_patience() is not None:
                raise Cancelled from None
            raise ProcessEnded(error.what, where=self._error_place, hint=error.hint) from None
        if self._find_patience() is not None:
            raise Cancelled(reply.get("result"))
        if "error" in reply:
            raise rebuild_helper_error(reply["error"], self._error_place)
        return reply.get("result")

    def _find_patience(self) -> float | None:
        if self._helper.is_closed:
            return CLOSING
        return STOPPING if self._cancelled else None

    @property
    def _error_place(self) -> str:
        return self._operation.replace("_", " ")


def rebuild_helper_error(error: dict[str, Any], title: str) -> TunerError:
    """Rebuild the error that an operation raised from its JSON."""
    kind, what = str(error.get("kind")), sanitize(error.get("what", ""))
    if error.get("exit_code") is None:  # not a TunerError
        missing = kind in ("ImportError", "ModuleNotFoundError")
        hint = _("Check the installation with `tui-tuner doctor`.") if missing else ""
        return RunError(f"{one_line(kind)}: {one_line(what, 400)}", where=title, hint=hint)
    # Only classes of our own module are looked up: the name comes from another process
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
