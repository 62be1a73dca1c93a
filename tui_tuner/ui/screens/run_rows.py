"""The base of screens that list runs: a thread reads the list, again and again while it is visible."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import work
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.locales import _, _n
from tui_tuner.ui.screens.screen_base import TunerScreen

if TYPE_CHECKING:
    from tui_tuner.runs.store import RunFolder
    from tui_tuner.ui.run_overview import RunRow

_REFRESH_SECONDS = 2.0
_FIRST_SECONDS = 0.3  # the first reading of a long list shows its part this often


class RowsRead(Message):
    """The list of runs; with `more`, only the part that was read so far."""

    def __init__(self, found: list[RunRow], more: bool = False) -> None:
        super().__init__()
        self.found, self.more = found, more

    def can_replace(self, message: Message) -> bool:
        # A newer list replaces one that still waits in the queue: only the newest is worth drawing.
        return isinstance(message, RowsRead)


def describe_run_count(count: int, more: bool) -> str:
    """Return the number of runs as words; while they are still being read, the number so far."""
    if more:
        return _("reading the runs, {n:,} so far", n=count)
    return _n("{n:,} run", "{n:,} runs", count, n=count)


class RowsScreen(TunerScreen):
    """A screen with a list of runs. Each reading arrives as a `RowsRead` message."""

    _read_once = False

    def on_mount(self) -> None:
        self.set_interval(_REFRESH_SECONDS, self._read_if_visible)

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self._read_if_visible)

    def _read_if_visible(self) -> None:
        # A slow disk may need longer than the interval: readings must not pile up in threads.
        if self.is_on_view and not any(
            worker.group == "rows" and worker.is_running for worker in self.workers
        ):
            self._read_runs(
                self.tuner_app.host.folder if self.tuner_app.is_training and self.tuner_app.host else None
            )

    @work(thread=True, group="rows")
    def _read_runs(self, hosted: RunFolder | None) -> None:
        from tui_tuner.ui.run_overview import get_run_overview

        found: list[RunRow] = []
        worker, said = get_current_worker(), time.monotonic()
        for row in get_run_overview(self.tuner_app.store).iterate_rows(hosted):
            if worker.is_cancelled:
                return
            found.append(row)
            # Only the first reading shows parts. Later ones would make a long list shrink and grow again.
            if not self._read_once and time.monotonic() - said > _FIRST_SECONDS:
                said = time.monotonic()
                self.post_message(RowsRead(list(found), more=True))
        self._read_once = True
        if not worker.is_cancelled:
            self.post_message(RowsRead(found))
