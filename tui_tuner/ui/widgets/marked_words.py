"""A text shown word by word, with a cursor, a selection of words, and labelled marks."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui_tuner.locales import _
from tui_tuner.text import one_line

Mark = tuple[int, int, str]  # first word, last word, label
Place = tuple[int, int]  # begin, end in characters


class MarkedWords(VerticalScroll, can_focus=True):
    """Shows a text split into words, of which the user selects some with the cursor keys.

    Marked words are in [brackets] followed by their label, so that they are visible without colour.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", show=False),
        Binding("right", "move(1)", show=False),
        Binding("up", "line(-1)", show=False),
        Binding("down", "line(1)", show=False),
        Binding("home", "edge(0)", show=False),
        Binding("end", "edge(-1)", show=False),
        Binding("shift+left", "extend(-1)", show=False),
        Binding("shift+right", "extend(1)", show=False),
        Binding("space", "hold", _("Start here")),
    ]
    DEFAULT_CSS = """
    MarkedWords { height: 1fr; }
    MarkedWords Static { height: auto; }
    """

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.text = ""
        self.places: list[Place] = []
        self.marks: list[Mark] = []
        self.cursor = 0
        self.held: int | None = None
        self._written: list[str] = []  # each word with its brackets and label
        self._lines: list[list[int]] = []  # the words of each line
        self._where: list[tuple[int, int]] = []  # (line, column) of each word

    def compose(self) -> ComposeResult:
        yield Static()

    # ---- content ----------------------------------------------------------------------------------------

    def show_text(self, text: str, places: list[Place], marks: list[Mark] | None = None) -> None:
        """Show a text whose words are at these places."""
        self.text, self.places, self.marks = text, places, list(marks or [])
        self.cursor, self.held = 0, None
        self.scroll_to(y=0, animate=False)
        self._draw_words()

    @property
    def words(self) -> list[str]:
        return [self.text[begin:end] for begin, end in self.places]

    @property
    def chosen_range(self) -> tuple[int, int]:
        """The first and the last selected word."""
        other = self.cursor if self.held is None else self.held
        return min(other, self.cursor), max(other, self.cursor)

    @property
    def chosen_place(self) -> Place:
        """Start and end of the selection in the text, in characters."""
        first, last = self.chosen_range
        return self.places[first][0], self.places[last][1]

    def choose_words(self, first: int, last: int) -> None:
        """Select a range of words."""
        self.held, self.cursor = (first if first != last else None), last
        self._draw_words()

    def mark_chosen(self, label: str) -> None:
        """Mark the selected words, replacing marks there. An empty label only removes marks."""
        if not self.places:
            return
        first, last = self.chosen_range
        self.marks = [one for one in self.marks if one[1] < first or one[0] > last]
        if label:
            self.marks = sorted([*self.marks, (first, last, label)])
        self.held = None
        self.cursor = min(last + 1, len(self.places) - 1)
        self._draw_words()

    def on_resize(self, _event: events.Resize) -> None:
        self._draw_words()

    def _draw_words(self) -> None:
        self._write_words()
        self._lay_out(max(8, self.size.width - 2))
        parts: list[str | Content | tuple[str, str]] = []
        first, last = self.chosen_range
        marked = {word for begin, end, _label in self.marks for word in range(begin, end + 1)}
        for line in self._lines:
            at = 0
            for word in line:
                column = self._where[word][1]
                within = first < word <= last
                # The space between two selected words is selected, too, or the selection would look broken.
                parts.append((" " * (column - at), "reverse" if within else ""))
                style = "bold $accent" if word in marked else ""
                chosen = first <= word <= last
                parts.append((self._written[word], f"{style} reverse".strip() if chosen else style))
                at = column + cell_len(self._written[word])
            parts.append("\n")
        self.query_one(Static).update(Content.assemble(*parts[:-1]))
        self._keep_in_view()

    def _write_words(self) -> None:
        """Prepare the text of each word with its opening bracket, or its closing one and the label."""
        self._written = [one_line(word) for word in self.words]
        for first, last, label in self.marks:
            self._written[first] = f"[{self._written[first]}"
            self._written[last] += f"]{one_line(label, 20)}"

    def _lay_out(self, width: int) -> None:
        """Place each word in a line and column; lines break between words and at line breaks of the text."""
        self._lines, self._where = [[]], []
        column, before = 0, 0
        for word, (begin, end) in enumerate(self.places):
            between = self.text[before:begin]
            before = end
            size = cell_len(self._written[word])
            # Words that touch in the text, such as a word and its comma, get no space.
            column += bool(between) and bool(self._lines[-1])
            if "\n" in between and word:
                # Several empty lines of the text become one, to save room.
                self._lines += [[] for _line in range(min(2, between.count("\n")))]
                column = 0
            elif column + size > width and self._lines[-1]:
                self._lines.append([])
                column = 0
            self._lines[-1].append(word)
            self._where.append((len(self._lines) - 1, column))
            column += size

    def _keep_in_view(self) -> None:
        if not self._where:
            return
        line, height = self._where[self.cursor][0], max(1, self.size.height)
        if not self.scroll_y <= line < self.scroll_y + height:
            self.call_after_refresh(self.scroll_to, y=max(0, line - height // 2), animate=False)

    # ---- keys -------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        if self.places:
            self.cursor = min(max(0, self.cursor + by), len(self.places) - 1)
            self._draw_words()

    def action_extend(self, by: int) -> None:
        if self.held is None:
            self.held = self.cursor
        self.action_move(by)

    def action_hold(self) -> None:
        """Fix the word under the cursor as one end of the selection, or release it."""
        self.held = self.cursor if self.held is None else None
        self._draw_words()

    def action_line(self, by: int) -> None:
        """Move to the nearest word of the line above or below."""
        if not self._where:
            return
        line, column = self._where[self.cursor]
        line += by
        while 0 <= line < len(self._lines) and not self._lines[line]:
            line += by
        if 0 <= line < len(self._lines):
            self.cursor = min(self._lines[line], key=lambda word: abs(self._where[word][1] - column))
            self._draw_words()

    def action_edge(self, place: int) -> None:
        """Move to the first or the last word of the line."""
        if self._where:
            self.cursor = self._lines[self._where[self.cursor][0]][place]
            self._draw_words()
