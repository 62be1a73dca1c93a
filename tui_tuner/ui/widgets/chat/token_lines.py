"""Tokens with their boundaries, laid out in lines; only visible lines are drawn."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content

from tui_tuner.text import one_line, sanitize
from tui_tuner.ui.widgets.long_list import LongList

_BORDER = "▏"
Part = tuple[str, str]


class TokenLines(LongList):
    """A text with a boundary mark before each token, or one token per line."""

    has_cursor = False

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: list[list[Part]] = []
        self._tokens: Sequence[tuple[int, str, bool]] = ()
        self._ids = False

    def show_tokens(self, tokens: Sequence[tuple[int, str, bool]], ids: bool) -> None:
        """Show tokens as (id, text, special); with `ids`, one per line with its id."""
        self._tokens, self._ids = tokens, ids
        width = max(10, self.scrollable_content_region.width)
        self._lines = [] if ids else lay_tokens(tokens, width)
        self.show_items(len(tokens) if ids else len(self._lines), 0)
        self.refresh()

    def draw_item(self, index: int, width: int) -> list[Content]:
        if not self._ids:
            return [Content.assemble(*self._lines[index])]
        number, text, special = self._tokens[index]
        place = (f"{index:>6}  {number:>8}  ", "$dim")
        return [Content.assemble(place, _style_token(one_line(text) or "∅", special))]


def _style_token(text: str, special: bool) -> Part:
    return (f"‹{text}›", "$special") if special else (text.replace(" ", "·"), "")


def lay_tokens(tokens: Sequence[tuple[int, str, bool]], width: int) -> list[list[Part]]:
    """Lay out tokens in lines of `width` cells; line breaks of the text are kept and marked."""
    lines: list[list[Part]] = [[]]
    used = 0
    for _id, text, special in tokens:
        shown, style = _style_token(sanitize(text).replace("\t", "→").replace("\n", "↵\n") or "∅", special)
        for place, piece in enumerate(shown.split("\n")):
            if place:
                lines.append([])
                used = 0
            border = "" if place else _BORDER
            # The text of a token may end in a line break; what follows it is the next token.
            if not piece and place:
                continue
            if used and used + cell_len(border + piece) > width:
                lines.append([])
                used = 0
            lines[-1].append((border, "$dim"))
            used += cell_len(border)
            for part in _cut_text(piece, width - used, width):
                if part is None:
                    lines.append([])
                    used = 0
                else:
                    lines[-1].append((part, style))
                    used += cell_len(part)
    return [line for line in lines if line] or [[("", "")]]


def _cut_text(text: str, first: int, width: int) -> list[str | None]:
    """Split a text into parts that fit, with None for each line break."""
    parts: list[str | None] = []
    now, room = "", first
    for character in text:
        if cell_len(now + character) > room:
            parts += [now, None]
            now, room = "", width
        now += character
    return [*parts, now]
