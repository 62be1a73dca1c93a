"""A screen as text: its characters, and below them what is focused, bold or of which colour of the theme."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from textual.pilot import Pilot

from tui_tuner.ui.themes import THEMES

# In this order: a colour that has several names has the first. What no name has, such as the blend of a
# covered screen, is not told: that is Textual's own affair, and may differ between its versions.
_NAMES = ("foreground", "primary", "secondary", "accent", "success", "warning", "error", "dim", "line")
_BACKS = ("background", "panel", "cursor-back", "trained-back")
_UNTOLD = ("foreground", "background", "panel", "block-cursor-foreground", "footer-description-foreground")
_MARKS = "marks"


@dataclass(frozen=True)
class Picture:
    """What stands on a screen.

    Args:
        lines: The characters, a line each, of as many cells as the screen is wide.
        marks: For each line: `from-to class class` of every stretch that is not plain text.
        colours: All colours on it, as (red, green, blue).
    """

    lines: tuple[str, ...]
    marks: tuple[str, ...]
    colours: frozenset[tuple[int, int, int]]

    def kept(self) -> str:
        """As it is kept in a file."""
        told = [f"{number:>3}: {mark}" for number, mark in enumerate(self.marks, 1) if mark]
        return "\n".join([*(line.rstrip() for line in self.lines), f"-- {_MARKS}", *told]) + "\n"


def picture(pilot: Pilot[Any], replaced: dict[str, str]) -> Picture:
    """What stands on the screen now.

    Args:
        replaced: Texts that differ from machine to machine, and what stands for them, of the same length.
    """
    app = pilot.app
    width, height = app.size
    names = _colours(app.theme)
    lines, marks = [], []
    seen: set[tuple[int, int, int]] = set()
    for strip in app.screen._compositor.render_strips()[:height]:
        text = strip.text
        for there, here in replaced.items():
            text = _in_place(text, there, here)
        lines.append(text)
        stretches: list[tuple[int, int, str]] = []
        at = 0
        for segment in strip:
            cells = segment.cell_length
            told = _told(segment.style, names, seen)
            if told and stretches and stretches[-1][1:] == (at, told):
                stretches[-1] = (stretches[-1][0], at + cells, told)
            elif told:
                stretches.append((at, at + cells, told))
            at += cells
        marks.append(" | ".join(f"{begin}-{end} {told}" for begin, end, told in stretches if begin < width))
    return Picture(tuple(lines), tuple(marks), frozenset(seen))


def _colours(theme: str) -> dict[tuple[int, int, int], str]:
    """Names of the colours of a theme; two colours that are one in the dark theme have one name in both."""
    from textual.color import Color

    dark, here = (_flat(THEMES[name]) for name in ("tuner-dark", theme))
    first: dict[str, str] = {}
    for name in (*_NAMES, *_BACKS, *dark):
        first.setdefault(dark.get(name, ""), name)
    found: dict[tuple[int, int, int], str] = {}
    for name in (*_NAMES, *_BACKS, *here):
        value = here.get(name, "")
        if re.fullmatch("#[0-9a-f]{6}", value):
            found.setdefault(Color.parse(value).rgb, first.get(dark.get(name, ""), name))
    return found


def _flat(theme: Any) -> dict[str, str]:
    own = {name: getattr(theme, name, None) for name in (*_NAMES, *_BACKS)}
    return {**{name: value for name, value in own.items() if value}, **theme.variables}


def _told(style: Any, names: dict[tuple[int, int, int], str], seen: set[tuple[int, int, int]]) -> str:
    """The classes of a stretch; empty for plain text."""
    if style is None:
        return ""
    told = [name for name in ("bold", "italic", "underline", "reverse", "strike") if getattr(style, name)]
    known = False
    for before, colour in (("", style.color), ("on ", style.bgcolor)):
        if colour is None or colour.triplet is None:
            continue
        rgb = (colour.triplet.red, colour.triplet.green, colour.triplet.blue)
        seen.add(rgb)
        name = names.get(rgb, "")
        known = known or bool(name)
        if name and name not in _UNTOLD:
            told.append(before + name)
    return " ".join(told) if known else ""  # or it is of a screen that is covered by a question


_FEWEST = 8  # characters of a text that are taken for a part of it


def _in_place(text: str, there: str, here: str) -> str:
    """A text with `here` for `there`, also where a line shows only a part of it."""
    found = list(text)
    for match in re.finditer("|".join(re.escape(part) for part in _parts(there)), text):
        begin = there.index(match.group())
        end = match.end()
        while begin + end - match.start() < len(there) and end < len(text):
            if text[end] != there[begin + end - match.start()]:
                break
            end += 1
        found[match.start() : end] = here[begin : begin + end - match.start()]
    return "".join(found)


def _parts(text: str) -> list[str]:
    return [text[at : at + _FEWEST] for at in range(max(1, len(text) - _FEWEST + 1))]


def difference(before: str, now: str) -> str:
    """What a person sees of a change: the lines that differ, old and new below each other."""
    lines = difflib.unified_diff(
        before.splitlines(), now.splitlines(), "as it was kept", "as it is now", lineterm="", n=2
    )
    return "\n".join(lines)


# What holds for every screen

_CUT = re.compile(r"(?:\w[\w',:;.-]* ){6,}\w+…")  # a sentence; what is being done is told in fewer words
_FREE = 8  # cells that are left out of regard
_LEAKS = (
    (re.compile(r"Traceback \(most recent"), "a traceback"),
    (re.compile(r"Content\(|Text\(|<[A-Za-z_.]+ object at|<Span "), "the name of an object"),
    (re.compile(r"\[/?(?:bold|dim|red|green|b|i|@click|/)[^\]\s]*\]"), "markup"),
    (re.compile(r"^[\s│▏▎]*\{\"\w+\":"), "a line of raw JSON"),
    (re.compile(r"\{[a-z_]+(?::[^}\"' ]*)?\}"), "a place that was not filled in"),
    (re.compile(r"\\n|\\x1b|\x1b|\\u[0-9a-f]{4}"), "an escape"),
)


def cut_sentences(pilot: Pilot[Any], shown: Picture) -> list[str]:
    """Sentences that are cut although their widget has room for more of them."""
    found = []
    for y, line in enumerate(shown.lines):
        for cut in _CUT.finditer(line):
            x = cell_len(line[: cut.end()])
            widget, _region = pilot.app.screen.get_widget_at(x - 1, y)
            if widget is pilot.app.screen:
                continue  # what a question covers
            if widget.content_region.right - x > _FREE and not line[cut.end() :].strip():
                found.append(
                    f"line {y + 1} is cut, and {widget.content_region.right - x} cells are free: {line!r}"
                )
    return found


def faults(shown: Picture, width: int) -> list[str]:
    """What no screen may have."""
    found = []
    for number, line in enumerate(shown.lines, 1):
        if cell_len(line) > width:
            found.append(f"line {number} is {cell_len(line)} cells wide: {line!r}")
        found += [f"line {number} shows {what}: {line!r}" for leak, what in _LEAKS if leak.search(line)]
    return found
