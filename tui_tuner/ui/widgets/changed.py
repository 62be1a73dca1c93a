"""A line of which only the part that has changed goes to the terminal: what keeps a live pane quiet."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget


class Line(Widget):
    """One line of content, cut with an ellipsis."""

    DEFAULT_CSS = "Line { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.content = Content("")

    def render(self) -> Content:
        return self.content

    def show(self, content: Content) -> None:
        """Draw `content` where it differs from what is there."""
        old, self.content = self.content, content
        start, end = difference(old, content)
        if start < end:
            self.refresh(Region(start, 0, end - start, 1))


def difference(old: Content, new: Content) -> tuple[int, int]:
    """The cells from start up to end in which two lines differ; equal numbers if they do not."""
    before, after = old.plain, new.plain
    first = _same(before, after)
    if _within(old, 0, first) != _within(new, 0, first):
        first = 0
    last = max(len(before), len(after))
    if len(before) == len(after) and cell_len(before) == len(before) == cell_len(after):
        same = _same(before[::-1], after[::-1])
        if _within(old, last - same, last) == _within(new, last - same, last):
            last = max(first, last - same)
    if before == after and first == len(before):
        return 0, 0
    return cell_len(before[:first]), max(cell_len(before[:last]), cell_len(after[:last]))


def _within(content: Content, start: int, end: int) -> set[tuple[int, int, str]]:
    """The styles between two characters."""
    clipped = ((max(s.start, start), min(s.end, end), str(s.style)) for s in content.spans)
    return {span for span in clipped if span[0] < span[1]}


def _same(first: str, second: str) -> int:
    """How many characters two texts have in common from their beginning."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))
