"""Lines of which only those that have changed go to the terminal: what keeps a live pane quiet.

A changed line is sent from the widget's left edge up to its last changed cell. So what changes stands in a
widget of its own, beside what does not.
"""

from __future__ import annotations

from itertools import zip_longest

from rich.cells import cell_len
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget


class Lines(Widget):
    """Lines of content, each cut with an ellipsis; one line high unless the style says otherwise."""

    DEFAULT_CSS = "Lines { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.lines: tuple[Content, ...] = ()

    def render(self) -> Content:
        return Content("\n").join(self.lines)

    def show(self, *lines: Content) -> None:
        """Draw `lines` where they differ from what is there."""
        old, self.lines = self.lines, lines
        pairs = enumerate(zip_longest(old, lines, fillvalue=Content("")))
        spans = [(y, *difference(before, after)) for y, (before, after) in pairs]
        regions = [Region(start, y, end - start, 1) for y, start, end in spans if start < end]
        if regions:
            self.refresh(*regions)


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
