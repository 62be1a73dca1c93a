"""Lines of which only the changed ones are sent to the terminal, so that a live pane sends little.

A changed line is sent from the widget's left edge to its last changed cell, so changing and fixed content are
put into separate widgets side by side.
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

    def show_lines(self, *lines: Content) -> None:
        """Show lines; only the cells that differ are drawn again."""
        old, self.lines = self.lines, lines
        pairs = enumerate(zip_longest(old, lines, fillvalue=Content("")))
        spans = [(y, *find_line_difference(before, after)) for y, (before, after) in pairs]
        regions = [Region(start, y, end - start, 1) for y, start, end in spans if start < end]
        if regions:
            self.refresh(*regions)


def find_line_difference(old: Content, new: Content) -> tuple[int, int]:
    """Return the cells [start, end) in which two lines differ; equal numbers if they do not."""
    before, after = old.plain, new.plain
    first = _count_same(before, after)
    # The same letters in another colour: give up on the common start, which is rare.
    if _list_styles(old, 0, first) != _list_styles(new, 0, first):
        first = 0
    last = max(len(before), len(after))
    # Only with one cell for each letter, and no shift, are equal ends at equal cells.
    if len(before) == len(after) and cell_len(before) == len(before) == cell_len(after):
        same = _count_same(before[::-1], after[::-1])
        if _list_styles(old, last - same, last) == _list_styles(new, last - same, last):
            last = max(first, last - same)
    if before == after and first == len(before):
        return 0, 0
    return cell_len(before[:first]), max(cell_len(before[:last]), cell_len(after[:last]))


def _list_styles(content: Content, start: int, end: int) -> set[tuple[int, int, str]]:
    """Return the styles between two characters."""
    clipped = ((max(s.start, start), min(s.end, end), str(s.style)) for s in content.spans)
    return {span for span in clipped if span[0] < span[1]}


def _count_same(first: str, second: str) -> int:
    """Count the characters that two texts share at their start."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))
