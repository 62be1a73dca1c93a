"""A static line that is drawn again only when its content has changed: what keeps a live pane quiet."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class Line(Static):
    """One line of content, cut with an ellipsis."""

    DEFAULT_CSS = "Line { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", id=id, classes=classes)
        self._now: Content | None = None

    def show(self, content: Content) -> None:
        """Draw `content`, unless it is there already."""
        if self._now is None or not content.is_same(self._now):
            self._now = content
            self.update(content, layout=False)
