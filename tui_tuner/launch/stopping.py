"""A stop that is obeyed within seconds, or else is answered.

A signal asks for a stop, and the core obeys at the next step, row or token. Before the first step, where
nothing can be lost, a library may be at work for minutes in between: importing, reading, tokenising in
processes of its own, loading weights. A process that is there for the run alone ends then.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from tui_tuner.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from tui_tuner.locales import _
from tui_tuner.runs.control import Control
from tui_tuner.runs.events import Body, Finished, Log, Phase, Sink, Step

PATIENCE_SECONDS = 3.0  # for the core to end by itself; then a word, or the end
_LOOK_SECONDS = 0.25
_BEFORE = ("", "loading", "tokenizing")


class Stopping:
    """Looks, in a thread, whether a stop was asked for and what became of it.

    Args:
        control: Where it is asked for.
        sync: Forces the journal to the disk.
        end: Ends this process with an exit code; None if it is not there for the run alone.
    """

    def __init__(self, control: Control, sync: Callable[[], None], end: Callable[[int], None] | None) -> None:
        self._control, self._sync, self._end = control, sync, end
        self._phase = ""
        self._begun = self._finished = False

    def see(self, body: Body) -> None:
        """Note an event of the run."""
        match body:
            case Phase(name=name):
                self._phase = name
                self._begun |= name not in _BEFORE
            case Step():
                self._begun = True
            case Finished():
                self._finished = True

    def watch(self, sink: Sink, done: threading.Event) -> None:
        """Begin to look, until `done`."""
        threading.Thread(target=self._watch, args=(sink, done), name="stopping", daemon=True).start()

    def _watch(self, sink: Sink, done: threading.Event) -> None:
        while not done.wait(_LOOK_SECONDS):
            asked = self._control.stop_asked
            if asked is None or time.monotonic() - asked < PATIENCE_SECONDS:
                continue
            if self._finished:
                return
            if self._begun or self._end is None:
                sink.emit(Log(_("A stop was asked for: what is being done is finished first, and saved.")))
                return
            self._leave(sink)

    def _leave(self, sink: Sink) -> None:
        assert self._end is not None
        code = EXIT_TERMINATED if self._control.stop_reason == "SIGTERM" else EXIT_INTERRUPTED
        message, hint = _("Stopped before the first step."), _("Start it again with `tui-tuner resume`.")
        sink.emit(Finished("stopped", code, message, hint))
        self._sync()
        _end_children()
        self._end(code)


def _end_children() -> None:
    """Those that tokenise, or were started by a library."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
