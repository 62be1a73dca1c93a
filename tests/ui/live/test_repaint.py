"""What goes to a terminal is what differs, and the terminal shows the same as if all of it were sent."""

import random
import re

import pytest
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from tui_tuner.ui.guard.repaint import PaintRecord

WIDTH, HEIGHT = 24, 5
CONSOLE = Console(color_system="truecolor", force_terminal=True)
RED = Style(color="red")
LOOKS = [
    Style(),
    Style(color="red"),
    Style(bgcolor="#102030", bold=True),
    Style(color="red", meta={"row": 3}),
]


class Terminal:
    """As much of a terminal as is written to: places, looks and characters of one or two cells."""

    def __init__(self) -> None:
        self.cells = {(y, x): ("?", "") for y in range(HEIGHT) for x in range(WIDTH)}

    def write(self, text: str) -> None:
        y = x = 0
        look = ""
        for place, sgr, letter in re.findall(r"\x1b\[(\d+;\d+)H|(\x1b\[[0-9;]*m)|([^\x1b])", text):
            if place:
                y, x = (int(number) - 1 for number in place.split(";"))
            elif sgr:
                look = "" if sgr == "\x1b[0m" else sgr
            elif letter != "\n":
                self.cells[y, x] = (letter, look)
                x += 1
                if letter > "\u4e00":
                    self.cells[y, x] = ("", look)
                    x += 1


def strip_of(rng: random.Random, width: int, wide: bool) -> Strip:
    segments = []
    while width:
        if wide and width > 1 and rng.random() < 0.2:
            text, cells = "语", 2
        else:
            cells = rng.randint(1, min(width, 6))
            text = rng.choice(["a", "b", " ", " ", "─", "●"]) * cells
        segments.append(Segment(text, rng.choice(LOOKS)))
        width -= cells
    return Strip(segments)


def layout(lines: list[list[Strip]]) -> LayoutUpdate:
    return LayoutUpdate(lines, Region(0, 0, WIDTH, len(lines)))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_the_terminal_shows_the_same(seed: int, wide: bool) -> None:
    rng = random.Random(seed)
    plain, saving = Terminal(), Terminal()
    painted = PaintRecord()
    lines: list[list[Strip]] = []
    for _unused in range(30):
        if not lines or rng.random() < 0.4:
            kept = [line if rng.random() < 0.5 else None for line in lines] or [None] * HEIGHT
            lines = [line or [strip_of(rng, 10, wide), strip_of(rng, WIDTH - 10, wide)] for line in kept]
            update: LayoutUpdate | ChopsUpdate = layout(lines)
        else:
            y, at = rng.randrange(HEIGHT), 10
            piece = strip_of(rng, WIDTH - at, wide)
            lines[y] = [lines[y][0], piece]
            update = ChopsUpdate([{0: None, at: piece}] * HEIGHT, [(y, at, WIDTH)], [[at, WIDTH]] * HEIGHT)
        plain.write(update.render_segments(CONSOLE))
        saving.write(painted.only_changes(update).render_segments(CONSOLE))
        assert saving.cells == plain.cells


def test_the_same_screen_is_sent_once() -> None:
    painted = PaintRecord()
    lines = [[strip_of(random.Random(y), WIDTH, False)] for y in range(HEIGHT)]
    assert painted.only_changes(layout(lines)).render_segments(CONSOLE)
    assert painted.only_changes(layout(lines)).render_segments(CONSOLE) == ""
    painted.forget_lines()
    assert painted.only_changes(layout(lines)).render_segments(CONSOLE)


def test_one_other_letter_is_what_is_sent() -> None:
    painted = PaintRecord()
    for word in ("loss 0.4991", "loss 0.4971"):
        line = Strip([Segment(word.ljust(WIDTH), RED)])
        sent = painted.only_changes(layout([[line]])).render_segments(CONSOLE)
    assert sent == f"\x1b[1;10H{Strip.render_style(RED, '7', ColorSystem.TRUECOLOR)}"


def test_a_screen_that_was_not_written_is_not_taken_for_shown() -> None:
    painted = PaintRecord()
    lines = [[strip_of(random.Random(y), WIDTH, False)] for y in range(HEIGHT)]
    painted.only_changes(layout(lines))
    assert painted.only_changes(layout(lines)).render_segments(CONSOLE)
