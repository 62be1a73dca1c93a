"""The log of a run: what happened, newest at the bottom."""

from __future__ import annotations

from textual.widgets import RichLog

from tui_tuner.ui.bridge import Snapshot


class LogPane(RichLog):
    """Appends the lines that are new. Warnings carry a mark and their hint."""

    DEFAULT_CSS = "LogPane { height: 1fr; padding: 0 1; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, wrap=True, markup=False, highlight=False, max_lines=1000, min_width=1)
        self._seen = 0
        self._last: Snapshot | None = None

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._again())

    def show(self, snapshot: Snapshot) -> None:
        """Append what came since the last snapshot."""
        self._last = snapshot
        new = snapshot.log_total - self._seen
        if new <= 0:
            return
        self._seen = snapshot.log_total
        for line in snapshot.log[-new:]:
            self.write(line.line(self.app.theme_variables))

    def _again(self) -> None:
        self.clear()
        self._seen = 0
        if self._last is not None:
            self.show(self._last)
