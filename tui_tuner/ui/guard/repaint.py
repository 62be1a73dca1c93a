"""What the terminal shows already is not sent again.

Textual sends the whole screen after each change of its layout, and the whole of a widget that was refreshed.
Opening one file is many such changes, and over a slow line each takes seconds. Here what was painted is
remembered line by line, and only what differs goes out: from the first cell of a line that is another one to
the last. Lines with characters of other widths than one cell go out whole, as terminals differ about these.
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

Run = tuple[str, str]  # neighbouring cells of one look: their text, and what is written around it
Line = list[Run]


class Painted:
    """The lines of the terminal, as far as they are known."""

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}

    def forget(self) -> None:
        """The terminal may show something else by now: the next layout is painted whole."""
        self._lines.clear()

    def only_changes(self, update: CompositorUpdate) -> CompositorUpdate:
        """The same update, which sends what differs once it is written."""
        return _Changes(self, update) if isinstance(update, LayoutUpdate | ChopsUpdate) else update

    def changes(self, update: CompositorUpdate, console: Console) -> str:
        """What has to be written so that the terminal shows it, which is taken for done."""
        colors = console._color_system or ColorSystem.TRUECOLOR
        try:
            if isinstance(update, LayoutUpdate):
                lines = enumerate(update.strips, update.region.y)
                return "".join(self._whole(y, _line_of(strips, colors)) for y, strips in lines)
            if isinstance(update, ChopsUpdate):
                return "".join(
                    self._piece(y, x, _line_of([strip], colors)) for y, x, strip in _pieces(update)
                )
        except BaseException:
            self.forget()
            raise
        return update.render_segments(console)

    def _whole(self, y: int, new: Line) -> str:
        old = self._lines.get(y)
        self._lines[y] = new
        return _written(y, 0, new) if old is None else _difference(y, old, new)

    def _piece(self, y: int, x: int, piece: Line) -> str:
        old = self._lines.get(y)
        if old is None:
            return _written(y, x, piece)
        if not (_is_plain(old) and _is_plain(piece)):
            del self._lines[y]
            return _written(y, x, piece)
        new = _joined([*_cut(old, 0, x), *piece, *_cut(old, x + _width(piece), _width(old))])
        self._lines[y] = new
        return _difference(y, old, new)


class _Changes(CompositorUpdate):
    def __init__(self, painted: Painted, update: CompositorUpdate) -> None:
        self._painted = painted
        self._update = update

    def render_segments(self, console: Console) -> str:
        """Asked for where it is written, and only there."""
        return self._painted.changes(self._update, console)


def _pieces(update: ChopsUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Row, column and what goes there, as Textual writes it."""
    for y, first, last in update.spans:
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if strip is None or x > last or end <= first:
                continue
            whole = last > x >= first and end <= last
            yield y, x, strip if whole else strip.crop(0, min(end, last) - x)


def _line_of(strips: Iterable[Strip], colors: ColorSystem) -> Line:
    return _joined(
        (text, _TEXT if style is None else Strip.render_style(style, _TEXT, colors))
        for strip in strips
        for text, style, _unused in strip
    )


def _joined(runs: Iterable[Run]) -> Line:
    """The same with one run where neighbours look the same."""
    line: Line = []
    for text, look in runs:
        if line and line[-1][1] == look:
            line[-1] = (line[-1][0] + text, look)
        elif text:
            line.append((text, look))
    return line


def _difference(y: int, old: Line, new: Line) -> str:
    if old == new:
        return ""
    width = _width(new)
    if not (_is_plain(old) and _is_plain(new)) or _width(old) != width:
        return _written(y, 0, new)
    first = _same_cells(old, new)
    last = width - _same_cells(_reversed(old), _reversed(new))
    return _written(y, first, _cut(new, first, last))


def _same_cells(one: Line, other: Line) -> int:
    """How many cells from the left are the same."""
    rest, others = iter(one), iter(other)
    (text, look), (text2, look2) = next(rest, ("", "")), next(others, ("", ""))
    cells = 0
    while text and text2 and look == look2:
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


def _reversed(line: Line) -> Line:
    return [(text[::-1], look) for text, look in reversed(line)]


def _cut(line: Line, first: int, last: int) -> Line:
    """The cells of a plain line from one column to before another."""
    found: Line = []
    x = 0
    for text, look in line:
        part = text[max(0, first - x) : max(0, last - x)]
        x += len(text)
        if part:
            found.append((part, look))
    return found


def _written(y: int, x: int, line: Line) -> str:
    text = "".join(look.replace(_TEXT, text) for text, look in line)
    return f"\x1b[{y + 1};{x + 1}H{text}" if text else ""


def _width(line: Line) -> int:
    return sum(len(text) for text, _unused in line)


def _is_plain(line: Line) -> bool:
    return all(text.isascii() or _one_cell_each(text) for text, _unused in line)


@lru_cache(4096)
def _one_cell_each(text: str) -> bool:
    return all(cell_len(letter) == 1 for letter in set(text))
