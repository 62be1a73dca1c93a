"""Text that is laid out for the width it gets."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content
from textual.widgets import Static

Draw = Callable[[int], Content]


class Fitted(Static):
    """A `Static` whose content is made for its width, again whenever that changes."""

    DEFAULT_CSS = "Fitted { height: auto; width: 1fr; }"

    def __init__(self, draw: Draw, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._draw = draw
        self._width = 0

    def on_resize(self) -> None:
        width = self.content_size.width
        if width and width != self._width:
            self._width = width
            self.update(self._draw(width))

    def show(self, draw: Draw) -> None:
        """Another content."""
        self._draw = draw
        if self._width:
            self.update(draw(self._width))
