"""Text that is laid out for its actual width."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content
from textual.widgets import Static

Draw = Callable[[int], Content]
_LIKELY = 76  # cells


class Fitted(Static):
    """A `Static` whose content is drawn for its width, and again whenever the width changes."""

    DEFAULT_CSS = "Fitted { height: auto; width: 1fr; }"

    def __init__(self, draw: Draw, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._draw = draw
        self._width = 0
        self._drawn: Content | None = None

    def on_resize(self) -> None:
        width = self.content_size.width
        if width and width != self._width:
            self._width = width
            self._update_content()

    def show_drawn(self, draw: Draw) -> None:
        """Set another content. Before the width is known, a likely one is assumed."""
        self._draw = draw
        self._update_content()

    def _update_content(self) -> None:
        """Update only if the content differs; most is the same at every width."""
        drawn = self._draw(self._width or _LIKELY)
        if self._drawn is None or not is_content_same(drawn, self._drawn):
            self._drawn = drawn
            self.update(drawn)


def is_content_same(one: Content, other: Content) -> bool:
    """Return whether two contents look the same."""
    return one.plain == other.plain and one.spans == other.spans
