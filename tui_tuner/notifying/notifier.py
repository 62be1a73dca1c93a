"""Sends notifications about a run from the process that trains: a sink, and threads that send."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from tui_tuner.locales import _
from tui_tuner.notifying.run_messages import Message, MessageComposer, NotSent
from tui_tuner.notifying.sending import make_sending_waiter, name_notice_entry, send_message
from tui_tuner.runs.events import EventBody, EventSink, Warned

PATIENCE = 10.0  # seconds to wait for messages after the run has ended
IN_HASTE = 5.0  # the same if the process was asked to stop
_OF_A_TERMINAL = ("bell",)  # sent by the process that has the terminal


class Notifier:
    """A `EventSink` in front of the journal that sends messages without delaying or failing the run.

    Args:
        sink: The journal.
        run: The name of the run.
        entries: `output.notify` of its config.
    """

    def __init__(self, sink: EventSink, run: str, entries: Sequence[str]) -> None:
        self._sink, self._story = sink, MessageComposer(run)
        self._entries = [entry for entry in entries if entry not in _OF_A_TERMINAL]
        self._pending: list[str] = []
        self._changed = threading.Condition()
        self._failed: set[str] = set()
        self._deadline = float("inf")

    def emit(self, body: EventBody) -> None:
        """Pass on an event, then send a message if it calls for one."""
        # The journal first: a message must never be ahead of what it reports
        self._sink.emit(body)
        if not self._entries:
            return
        try:
            message = self._story.note_event(body)
        except Exception:
            # An event with odd values must not fail the run
            return
        if message is not None:
            self._start_sending(message)

    def _start_sending(self, message: Message) -> None:
        """Send in one thread per destination, so that one that hangs does not delay the others."""
        for entry in self._entries:
            thread = threading.Thread(
                target=self._send_and_report, args=(entry, message), name="notify", daemon=True
            )
            with self._changed:
                self._pending.append(entry)
            try:
                thread.start()
            except RuntimeError:
                # No more threads are available, or the interpreter is ending
                self._note_done(entry)

    def _send_and_report(self, entry: str, message: Message) -> None:
        try:
            send_message(
                entry,
                message,
                make_sending_waiter(lambda: self._deadline < float("inf"), lambda: self._deadline),
            )
        except NotSent as error:
            self._warn_once(entry, str(error))
        except Exception as error:
            self._warn_once(entry, type(error).__name__)
        finally:
            self._note_done(entry)

    def _note_done(self, entry: str) -> None:
        with self._changed:
            self._pending.remove(entry)
            self._changed.notify_all()

    def _warn_once(self, entry: str, why: str) -> None:
        """Warn once for each destination that could not be reached."""
        with self._changed:
            news = entry not in self._failed
            self._failed.add(entry)
        if news:
            self._sink.emit(
                Warned(
                    "notify_failed",
                    _("No message could be sent to {place}: {why}.", place=name_notice_entry(entry), why=why),
                    _("Check output.notify. The run itself is not affected."),
                )
            )

    def wait_for_pending(self, seconds: float = PATIENCE) -> None:
        """Wait up to so many seconds for pending messages; warn of those that are still not delivered."""
        until = time.monotonic() + seconds
        self._deadline = until
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, seconds)
            late = list(dict.fromkeys(self._pending))
        for entry in late:
            self._warn_once(entry, _("sending takes too long"))
