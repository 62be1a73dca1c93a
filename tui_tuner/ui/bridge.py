"""From a run's journal to the screen: a follower tails the file, folds it, and posts `RunUpdated`.

Nothing else feeds a live pane, whoever trains the run, so that the pane of the process that trains, of an
attached terminal and of a finished run are one and the same.
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

from tui_tuner.notifying.terminal import TerminalNotices
from tui_tuner.runs.events import Event, Phase, RunStarted, Verdict
from tui_tuner.runs.journal import JournalReader
from tui_tuner.runs.private import open_file
from tui_tuner.runs.store import RunFolder
from tui_tuner.runs.view import RunView, fold
from tui_tuner.ui.loglines import LogLine, log_line

_CHUNK = 128 * 1024
_BUDGET = 0.03  # seconds of the event loop that one poll may take while it catches up
_ALIVE_SECONDS = 2.0
_RUN_LOG_LINES = 12


@dataclass(frozen=True)
class Snapshot:
    """A run as it is now: its view, its state (a view's status, or starting, or lost) and its log.

    Args:
        state: It is `reading` while the journal of a run whose process is gone is not read to its end: what
            became of the run stands there.
    """

    folder: RunFolder
    view: RunView
    state: str
    log: tuple[LogLine, ...]
    log_total: int

    @property
    def live(self) -> bool:
        """True while the run can still be told something."""
        return self.state in ("starting", "running", "paused")


class RunUpdated(Message, bubble=False):
    """The latest snapshot; a newer one replaces one that still waits."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RunUpdated) and message.snapshot.folder.path == self.snapshot.folder.path


class Follower:
    """Follows one run for any number of listeners. `hosted` says whether this process trains it now.

    With an `app` its terminal rings where the run's config asks for it.
    """

    def __init__(
        self, folder: RunFolder, hosted: Callable[[], bool] = lambda: False, app: App[Any] | None = None
    ) -> None:
        self.folder = folder
        self.listeners: set[MessagePump] = set()
        self.view = RunView()
        self._hosted = hosted
        self._reader = JournalReader(folder.events)
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

    def snapshot(self) -> Snapshot:
        return Snapshot(self.folder, self.view, self.state(), tuple(self._log), self._log_total)

    def listen(self, listener: MessagePump) -> None:
        """Post updates to `listener` from now on; what is known already comes first."""
        self.listeners.add(listener)
        self.poll(force=True)

    def poll(self, force: bool = False) -> bool:
        """Read what is new and tell the listeners. True if there is more to read at once."""
        events: list[Event] = []
        more = True
        deadline = time.monotonic() + _BUDGET
        while more and time.monotonic() < deadline:
            chunk = self._reader.read(_CHUNK)
            events += chunk
            more = bool(chunk) and self._behind()
        self._catching_up = more
        if events:
            self.view = fold(self.view, events)
            for event in events:
                self._keep(log_line(event, self._phase, self._verdict))
                self._ring(self._notices.take(event))
                match event.body:
                    case Phase(name=name):
                        self._phase = name
                    case Verdict(verdict=word):
                        self._verdict = word
                    case RunStarted():
                        self._verdict = ""
        state = self.state()
        if state != self._state:
            self._state = state
            force = True
            if state in ("lost", "failed"):
                self._keep_run_log()
        if events or force:
            message = self.snapshot()
            for listener in tuple(self.listeners):
                listener.post_message(RunUpdated(message))
        return more

    def _ring(self, codes: str) -> None:
        """Write to the terminal what asks for somebody's eyes: its bell, a notice."""
        driver = self._app._driver if codes and self._app is not None else None
        if driver is not None:
            driver.write(codes)

    def state(self) -> str:
        """The view's status; `starting` before the first word of a run, `lost` if its process is gone."""
        if self.view.ended and not self._catching_up and not self._hosted():
            return self.view.status
        alive = self._is_alive()
        if not alive and self._catching_up:
            return "reading"
        if self.view.ended:
            return self.view.status
        if self.view.status in ("running", "paused"):
            return self.view.status if alive else "lost"
        if alive:
            return "starting"
        return "lost" if self.folder.manifest() else "new"

    def _is_alive(self) -> bool:
        if self._hosted():
            return True
        now = time.monotonic()
        if now - self._alive_checked > _ALIVE_SECONDS or not self._alive_checked:
            self._alive_checked = now
            mine = self.folder.manifest().get("pid") == os.getpid()
            self._alive = not mine and self.folder.alive()
        return self._alive

    def _behind(self) -> bool:
        try:
            return self.folder.events.stat().st_size > self._reader.offset
        except OSError:
            return False

    def _keep(self, line: LogLine | None) -> None:
        if line is not None:
            self._log.append(line)
            self._log_total += 1

    def _keep_run_log(self) -> None:
        """The last words of the libraries: what a lost or failed run leaves behind."""
        for text in tail(self.folder.log, _RUN_LOG_LINES):
            self._keep(LogLine(0.0, "log", text))


def tail(path: Path, count: int) -> list[str]:
    """The last `count` lines of a text file that are not blank; none where it cannot be read."""
    with contextlib.suppress(OSError), open_file(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 64 * 1024))
        lines = file.read().decode("utf-8", "replace").splitlines()
        return [line for line in lines if line.strip()][-count:]
    return []
