"""From a run's journal to the screen: a follower tails the file, folds it, and posts `RunUpdated`.

Nothing else feeds a live pane, so that it looks the same in the process that trains, in an attached terminal
and for a finished run.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.app import App
from textual.message import Message
from textual.message_pump import MessagePump

from tui_tuner.notifying.terminal_notices import TerminalNotices
from tui_tuner.runs.events import Event, Phase, RunStarted, Verdict
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.private_files import open_regular_file
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView, fold_view_events
from tui_tuner.ui.loglines import LogLine, make_log_line

_CHUNK = 128 * 1024
_BUDGET = 0.03  # seconds that one poll may block the event loop while it catches up
_ALIVE_SECONDS = 2.0
_RUN_LOG_LINES = 12


@dataclass(frozen=True)
class RunSnapshot:
    """A run as it is now: its view, its state (a view's status, or starting, or lost) and its log.

    Args:
        state: `reading` while the process has ended and its journal is not fully read: the last lines
            report how the run ended.
    """

    folder: RunFolder
    view: RunView
    state: str
    log: tuple[LogLine, ...]
    log_total: int

    @property
    def is_live(self) -> bool:
        """True while the run can still receive commands."""
        return self.state in ("starting", "running", "paused")


class RunUpdated(Message, bubble=False):
    """The latest snapshot; a newer one replaces one that is still queued."""

    def __init__(self, snapshot: RunSnapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunUpdated) and message.snapshot.folder.path == self.snapshot.folder.path


class RunFollower:
    """Follows one run for any number of listeners. `hosted` returns whether this process trains it.

    With an `app`, its terminal's bell rings if the run's config asks for it.
    """

    def __init__(
        self, folder: RunFolder, hosted: Callable[[], bool] = lambda: False, app: App[Any] | None = None
    ) -> None:
        self.folder = folder
        self.listeners: set[MessagePump] = set()
        self.view = RunView()
        self._hosted = hosted
        self._reader = JournalReader(folder.events_path)
        self._log: deque[LogLine] = deque(maxlen=1000)
        self._log_total = 0
        self._alive = True
        self._alive_checked = 0.0
        self._catching_up = False
        self._state = ""
        self._phase = ""
        self._app = app
        self._notices = TerminalNotices()
        self._verdict = ""

    def take_snapshot(self) -> RunSnapshot:
        return RunSnapshot(self.folder, self.view, self.find_state(), tuple(self._log), self._log_total)

    def add_listener(self, listener: MessagePump) -> None:
        """Post updates to `listener` from now on; the current snapshot is posted at once."""
        self.listeners.add(listener)
        self.poll_journal(force=True)

    def poll_journal(self, force: bool = False) -> bool:
        """Read new events and post a snapshot. Returns True if there is more to read."""
        events: list[Event] = []
        more = True
        deadline = time.monotonic() + _BUDGET
        while more and time.monotonic() < deadline:
            chunk = self._reader.read_events(_CHUNK)
            events += chunk
            # An empty read with bytes left is a torn last line: it is complete only at a later poll.
            more = bool(chunk) and self._is_behind()
        self._catching_up = more
        if events:
            self.view = fold_view_events(self.view, events)
            for event in events:
                self._keep_line(make_log_line(event, self._phase, self._verdict))
                self._ring_terminal(self._notices.take_event(event))
                match event.body:
                    case Phase(name=name):
                        self._phase = name
                    case Verdict(verdict=word):
                        self._verdict = word
                    case RunStarted():
                        self._verdict = ""
        state = self.find_state()
        if state != self._state:
            self._state = state
            force = True
            # A process that was killed wrote nothing to the journal; its captured output may show why.
            if state in ("lost", "failed"):
                self._keep_run_log()
        if events or force:
            message = self.take_snapshot()
            for listener in tuple(self.listeners):
                listener.post_message(RunUpdated(message))
        return more

    def _ring_terminal(self, codes: str) -> None:
        """Write a bell or a desktop notice (as escape codes) to the terminal."""
        driver = self._app._driver if codes and self._app is not None else None
        if driver is not None:
            driver.write(codes)

    def find_state(self) -> str:
        """Return the view's status, `starting` before the first event, or `lost` if the process is gone."""
        if self.view.has_ended and not self._catching_up and not self._hosted():
            return self.view.status
        # While catching up, the status may be that of an earlier session of a resumed run.
        alive = self._is_alive()
        if not alive and self._catching_up:
            return "reading"
        if self.view.has_ended:
            return self.view.status
        if self.view.status in ("running", "paused"):
            return self.view.status if alive else "lost"
        if alive:
            return "starting"
        return "lost" if self.folder.read_manifest() else "new"

    def _is_alive(self) -> bool:
        if self._hosted():
            return True
        now = time.monotonic()
        # Trying a file lock can be slow on a network drive, and every tick asks.
        if now - self._alive_checked > _ALIVE_SECONDS or not self._alive_checked:
            self._alive_checked = now
            # A run with this process's id in its manifest that is not hosted any more has ended.
            mine = self.folder.read_manifest().get("pid") == os.getpid()
            self._alive = not mine and self.folder.is_alive()
        return self._alive

    def _is_behind(self) -> bool:
        try:
            return self.folder.events_path.stat().st_size > self._reader.offset
        except OSError:
            return False

    def _keep_line(self, line: LogLine | None) -> None:
        if line is not None:
            self._log.append(line)
            self._log_total += 1

    def _keep_run_log(self) -> None:
        """Append the last captured output of the libraries, for a lost or failed run."""
        for text in read_last_lines(self.folder.log_path, _RUN_LOG_LINES):
            self._keep_line(LogLine(0.0, "log", text))


def read_last_lines(path: Path, count: int) -> list[str]:
    """Return the last `count` non-blank lines of a text file; none if it cannot be read."""
    with contextlib.suppress(OSError), open_regular_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 64 * 1024))
        lines = file.read().decode("utf-8", "replace").splitlines()
        return [line for line in lines if line.strip()][-count:]
    return []
