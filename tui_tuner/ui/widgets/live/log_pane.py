"""The log of a run, newest lines at the bottom."""

from __future__ import annotations

from textual import on
from textual.events import Resize
from textual.widgets import RichLog

from tui_tuner.ui.bridge import RunSnapshot


class LogPane(RichLog):
    """Appends new lines and stays at the end, unless the user has scrolled up."""

    DEFAULT_CSS = "LogPane { height: 1fr; padding: 0 1; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, wrap=True, markup=False, highlight=False, max_lines=1000, min_width=1)
        self._seen = 0
        self._last: RunSnapshot | None = None
        self._at_end = True

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self._write_again())

    def show_snapshot(self, snapshot: RunSnapshot) -> None:
        """Append the lines since the last snapshot."""
        self._last = snapshot
        new = snapshot.log_total - self._seen
        if new <= 0:
            return
        first, self._seen = self._seen == 0, snapshot.log_total
        self._at_end = first or self.is_vertical_scroll_end
        for line in snapshot.log[-new:]:
            self.write(line.render_line(self.app.theme_variables), scroll_end=first)
        # At once: `write` would scroll only after the lines were drawn unscrolled, and all would be sent
        # twice.
        if self._at_end and not first:
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    @on(Resize)
    def _stay_at_end(self) -> None:
        if self._at_end:
            self.call_after_refresh(self.scroll_end, animate=False, x_axis=False)

    def _write_again(self) -> None:
        # Lines hold the colours of the theme in which they were written.
        self.clear()
        self._seen = 0
        if self._last is not None:
            self.show_snapshot(self._last)
