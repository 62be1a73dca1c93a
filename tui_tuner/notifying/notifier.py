"""Tells who asked for it how a run is, from the process that trains: a sink, and a thread that sends."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from tui_tuner.locales import _
from tui_tuner.notifying.message import Message, NotSent, Story
from tui_tuner.notifying.sending import name_of, pause, send
from tui_tuner.runs.events import Body, Sink, Warned

PATIENCE = 10.0  # seconds after the run's last word in which messages may still be on their way
IN_HASTE = 5.0  # the same where the process is asked to end
_OF_A_TERMINAL = ("bell",)  # what whoever has the terminal does


class Notifier:
    """A `Sink` in front of the journal. Nothing here delays the run, and nothing fails it.

    Args:
        sink: The journal.
        run: The name of the run.
        entries: `output.notify` of its config.
    """

    def __init__(self, sink: Sink, run: str, entries: Sequence[str]) -> None:
        self._sink, self._story = sink, Story(run)
        self._entries = [entry for entry in entries if entry not in _OF_A_TERMINAL]
        self._pending: list[str] = []
        self._changed = threading.Condition()
        self._failed: set[str] = set()
        self._deadline = float("inf")

    def emit(self, body: Body) -> None:
        """Pass an event on, then look whether somebody is to be told of it."""
        self._sink.emit(body)
        if not self._entries:
            return
        try:
            message = self._story.see(body)
        except Exception:  # an event with odd values; the run goes on
            return
        if message is not None:
            self._start(message)

    def _start(self, message: Message) -> None:
        """A thread for each place: one that hangs keeps no other waiting."""
        for entry in self._entries:
            thread = threading.Thread(target=self._send, args=(entry, message), name="notify", daemon=True)
            with self._changed:
                self._pending.append(entry)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads, or the interpreter ends
                self._done(entry)

    def _send(self, entry: str, message: Message) -> None:
        try:
            send(entry, message, pause(lambda: self._deadline < float("inf"), lambda: self._deadline))
        except NotSent as error:
            self._say(entry, str(error))
        except Exception as error:
            self._say(entry, type(error).__name__)
        finally:
            self._done(entry)

    def _done(self, entry: str) -> None:
        with self._changed:
            self._pending.remove(entry)
            self._changed.notify_all()

    def _say(self, entry: str, why: str) -> None:
        """Say once of a place that it was not reached."""
        with self._changed:
            news = entry not in self._failed
            self._failed.add(entry)
        if news:
            self._sink.emit(
                Warned(
                    "notify_failed",
                    _("No message got to {place}: {why}.", place=name_of(entry), why=why),
                    _("Look at output.notify. The run itself is not touched by it."),
                )
            )

    def wait(self, seconds: float = PATIENCE) -> None:
        """Wait for what is on its way, so long at most; what is not through by then is said, and left."""
        until = time.monotonic() + seconds
        self._deadline = until
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, seconds)
            late = list(dict.fromkeys(self._pending))
        for entry in late:
            self._say(entry, _("it takes too long"))
