"""Makes sure that a stop takes effect within seconds or is acknowledged.

A signal requests a stop, and the core obeys at the next step, row or token. Before the first step, when
nothing can be lost, a library may be busy for minutes: importing, reading, tokenising in its own processes,
loading weights. A process that exists only for the run is then ended.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from tui_tuner.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from tui_tuner.locales import _
from tui_tuner.runs.control import CommandReceiver
from tui_tuner.runs.events import EventBody, EventSink, Finished, Log, Phase, Step

PATIENCE_SECONDS = 3.0  # for the core to stop by itself; then a message, or the end
_LOOK_SECONDS = 0.25
_BEFORE = ("", "loading", "tokenizing")


class StopWatcher:
    """Checks in a thread whether a requested stop has taken effect.

    Args:
        control: Where stops are requested.
        sync: Syncs the journal to the disk.
        end: Ends this process with an exit code; None if it does not exist only for the run.
    """

    def __init__(
        self, control: CommandReceiver, sync: Callable[[], None], end: Callable[[int], None] | None
    ) -> None:
        self._control, self._sync, self._end = control, sync, end
        self._phase = ""
        self._begun = self._finished = False

    def note_event(self, body: EventBody) -> None:
        """Note from an event how far the run is."""
        match body:
            case Phase(name=name):
                self._phase = name
                self._begun |= name not in _BEFORE
            case Step():
                self._begun = True
            case Finished():
                self._finished = True

    def start_watching(self, sink: EventSink, done: threading.Event) -> None:
        """Start checking, until `done` is set."""
        threading.Thread(target=self._watch_for_stop, args=(sink, done), name="stopping", daemon=True).start()

    def _watch_for_stop(self, sink: EventSink, done: threading.Event) -> None:
        while not done.wait(_LOOK_SECONDS):
            asked = self._control.stop_asked
            if asked is None or time.monotonic() - asked < PATIENCE_SECONDS:
                continue
            if self._finished:
                return
            # After the first step there is something to save, so the core must end by itself
            if self._begun or self._end is None:
                sink.emit(Log(_("Stopping: the current work is finished and saved first.")))
                return
            self._end_process(sink)

    def _end_process(self, sink: EventSink) -> None:
        assert self._end is not None
        code = EXIT_TERMINATED if self._control.stop_reason == "SIGTERM" else EXIT_INTERRUPTED
        message, hint = _("Stopped before the first step."), _("Start it again with `tui-tuner resume`.")
        sink.emit(Finished("stopped", code, message, hint))
        # The process ends without cleaning up, so its last event must be on the disk first
        self._sync()
        _end_children()
        self._end(code)


def _end_children() -> None:
    """Kill child processes, such as those that tokenise or that a library started."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
