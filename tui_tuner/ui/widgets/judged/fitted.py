"""Text that is laid out for the width it gets."""

from __future__ import annotations

from collections.abc import Callable

from textual.content import Content
from textual.widgets import Static

Draw = Callable[[int], Content]
_LIKELY = 76  # cells


class Fitted(Static):
    """A `Static` whose content is made for its width, again whenever that changes."""

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
            self._update()

    def show(self, draw: Draw) -> None:
        """Another content. Before there is a width, it is made for a likely one."""
        self._draw = draw
        self._update()

    def _update(self) -> None:
        """Lay out anew only what is another content: most is the same at every width."""
        drawn = self._draw(self._width or _LIKELY)
        if self._drawn is None or not same_content(drawn, self._drawn):
            self._drawn = drawn
            self.update(drawn)


def same_content(one: Content, other: Content) -> bool:
    """Whether two contents look the same."""
    return one.plain == other.plain and one.spans == other.spans
