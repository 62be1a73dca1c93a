"""Sends only what differs from what the terminal already shows.

Textual sends the whole screen after each change of its layout, and the whole of a widget that was refreshed.
Opening one file causes many such changes, and over a slow line each takes seconds. Here painted lines are
remembered, and of each line only the cells from the first to the last difference are sent. Lines with
characters that are not one cell wide are sent whole, as terminals disagree about their widths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.strip import Strip

_TEXT = "\0"  # stands for the text, in what is written around it

Run = tuple[str, str]  # adjacent cells of one style: their text, and the escape codes around it
Line = list[Run]


class PaintRecord:
    """The lines of the terminal, as far as they are known."""

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}

    def forget_lines(self) -> None:
        """Forget all lines, so that the next layout is painted whole."""
        self._lines.clear()

    def only_changes(self, update: CompositorUpdate) -> CompositorUpdate:
        """Wrap an update so that writing it sends only the differences."""
        return _ChangesUpdate(self, update) if isinstance(update, LayoutUpdate | ChopsUpdate) else update

    def encode_changes(self, update: CompositorUpdate, console: Console) -> str:
        """Return the escape codes that bring the terminal to this update, and remember it as shown."""
        colors = console._color_system or ColorSystem.TRUECOLOR
        try:
            if isinstance(update, LayoutUpdate):
                lines = enumerate(update.strips, update.region.y)
                return "".join(self._encode_line_change(y, _line_of(strips, colors)) for y, strips in lines)
            if isinstance(update, ChopsUpdate):
                return "".join(
                    self._encode_piece_change(y, x, _line_of([strip], colors))
                    for y, x, strip in _iterate_pieces(update)
                )
        except BaseException:
            # Some lines are noted as painted by now, but nothing of them will be sent.
            self.forget_lines()
            raise
        return update.render_segments(console)

    def _encode_line_change(self, y: int, new: Line) -> str:
        old = self._lines.get(y)
        self._lines[y] = new
        return _encode_line(y, 0, new) if old is None else _encode_difference(y, old, new)

    def _encode_piece_change(self, y: int, x: int, piece: Line) -> str:
        old = self._lines.get(y)
        if old is None:
            return _encode_line(y, x, piece)
        # With wide characters columns cannot be counted by letters, so the line is no longer known.
        if not (_is_plain(old) and _is_plain(piece)):
            del self._lines[y]
            return _encode_line(y, x, piece)
        new = _merge_runs(
            [*_cut_line(old, 0, x), *piece, *_cut_line(old, x + _count_cells(piece), _count_cells(old))]
        )
        self._lines[y] = new
        return _encode_difference(y, old, new)


class _ChangesUpdate(CompositorUpdate):
    def __init__(self, painted: PaintRecord, update: CompositorUpdate) -> None:
        self._painted = painted
        self._update = update

    def render_segments(self, console: Console) -> str:
        """Return the differences; computed here because this is only called when the update is written."""
        return self._painted.encode_changes(self._update, console)


def _iterate_pieces(update: ChopsUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Yield row, column and strip of each changed piece, by the same rules as Textual's own."""
    for y, first, last in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is None or x > last or end <= first:
                continue
            whole = last > x >= first and end <= last
            yield y, x, strip if whole else strip.crop(0, min(end, last) - x)


def _line_of(strips: Iterable[Strip], colors: ColorSystem) -> Line:
    return _merge_runs(
        (text, _TEXT if style is None else Strip.render_style(style, _TEXT, colors))
        for strip in strips
        for text, style, _unused in strip
    )


def _merge_runs(runs: Iterable[Run]) -> Line:
    """Merge adjacent runs of the same style."""
    line: Line = []
    for text, look in runs:
        if line and line[-1][1] == look:
            line[-1] = (line[-1][0] + text, look)
        elif text:
            line.append((text, look))
    return line


def _encode_difference(y: int, old: Line, new: Line) -> str:
    if old == new:
        return ""
    width = _count_cells(new)
    if not (_is_plain(old) and _is_plain(new)) or _count_cells(old) != width:
        return _encode_line(y, 0, new)
    # Both lines have the same width here, so the common end can be counted from the right.
    first = _same_cells(old, new)
    last = width - _same_cells(_reverse_line(old), _reverse_line(new))
    return _encode_line(y, first, _cut_line(new, first, last))


def _same_cells(one: Line, other: Line) -> int:
    """Count the cells that are equal from the left."""
    rest, others = iter(one), iter(other)
    (text, look), (text2, look2) = next(rest, ("", "")), next(others, ("", ""))
    cells = 0
    while text and text2 and look == look2:
        # Runs of the two lines need not end at the same cells: compare up to the nearer end, then go to the
        # next run.
        least = min(len(text), len(text2))
        same = next(
            (at for at, pair in enumerate(zip(text, text2, strict=False)) if pair[0] != pair[1]), least
        )
        cells += same
        if same < least:
            break
        text, text2 = text[same:], text2[same:]
        if not text:
            text, look = next(rest, ("", ""))
        if not text2:
            text2, look2 = next(others, ("", ""))
    return cells


def _reverse_line(line: Line) -> Line:
    return [(text[::-1], look) for text, look in reversed(line)]


def _cut_line(line: Line, first: int, last: int) -> Line:
    """Return the cells of a plain line from column `first` up to, but not including, `last`."""
    found: Line = []
    x = 0
    for text, look in line:
        part = text[max(0, first - x) : max(0, last - x)]
        x += len(text)
        if part:
            found.append((part, look))
    return found


def _encode_line(y: int, x: int, line: Line) -> str:
    text = "".join(look.replace(_TEXT, text) for text, look in line)
    # The cursor position in escape codes counts from 1.
    return f"\x1b[{y + 1};{x + 1}H{text}" if text else ""


def _count_cells(line: Line) -> int:
    return sum(len(text) for text, _unused in line)


def _is_plain(line: Line) -> bool:
    return all(text.isascii() or _one_cell_each(text) for text, _unused in line)


# The same words are painted again and again, and measuring each letter is slow.
@lru_cache(4096)
def _one_cell_each(text: str) -> bool:
    return all(cell_len(letter) == 1 for letter in set(text))
