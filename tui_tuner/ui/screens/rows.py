"""What the screens that list runs share: the list is read in a thread, and again as long as it is on view."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import work
from textual.message import Message
from textual.worker import get_current_worker

from tui_tuner.locales import _, _n
from tui_tuner.ui.screens.base import TunerScreen

if TYPE_CHECKING:
    from tui_tuner.runs.store import RunFolder
    from tui_tuner.ui.overview import RunRow

_REFRESH_SECONDS = 2.0
_FIRST_SECONDS = 0.3  # until a long list that was not read before shows what is read of it


class RowsRead(Message):
    """The list of runs was read, or `more` of it is still to come."""

    def __init__(self, found: list[RunRow], more: bool = False) -> None:
        super().__init__()
        self.found, self.more = found, more

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, RowsRead)


def count_words(count: int, more: bool) -> str:
    """How many runs there are; while they are read, how many were."""
    if more:
        return _("reading the runs, {n:,} so far", n=count)
    return _n("{n:,} run", "{n:,} runs", count, n=count)


class RowsScreen(TunerScreen):
    """A screen with a list of runs; it gets each reading as a `RowsRead`."""

    _read_once = False

    def on_mount(self) -> None:
        self.set_interval(_REFRESH_SECONDS, self._read)

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self._read)

    def _read(self) -> None:
        if self.on_view and not any(worker.group == "rows" and worker.is_running for worker in self.workers):
            self._read_rows(self.tuner.host.folder if self.tuner.training and self.tuner.host else None)

    @work(thread=True, group="rows")
    def _read_rows(self, hosted: RunFolder | None) -> None:
        from tui_tuner.ui.overview import overview_of

        found: list[RunRow] = []
        worker, said = get_current_worker(), time.monotonic()
        for row in overview_of(self.tuner.store).rows(hosted):
            if worker.is_cancelled:
                return
            found.append(row)
            if not self._read_once and time.monotonic() - said > _FIRST_SECONDS:
                said = time.monotonic()
                self.post_message(RowsRead(list(found), more=True))
        self._read_once = True
        if not worker.is_cancelled:
            self.post_message(RowsRead(found))
