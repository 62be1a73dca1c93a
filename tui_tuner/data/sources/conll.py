"""Read tagged sentences: CoNLL with any number of columns, and CoNLL-U."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.line_tally import add_tally, check_line_tally
from tui_tuner.data.sources.lines import MAX_LINE, read_raw_lines, reencode_file
from tui_tuner.data.sources.streams import HEAD, detect_encoding
from tui_tuner.locales import N_
from tui_tuner.text import format_bytes

_U_COLUMNS = 10
_U_NUMBER = re.compile(r"\d+(?:[-.]\d+)?")
_SPAN_TAG = re.compile(r"[Oo]|[BIESLUMbieslum]-\S+")
_BLANKS = re.compile(r"[ \t]+")
_SEEN_LINES = 400
_MOST_COLUMNS = 100  # CoNLL has 2 to 14; a sentence all on one line has thousands
_SNIFFED = 256 * 1024


def read_conll(file: io.BufferedReader, name: str, told: str | None = None) -> Iterator[Row]:
    """Read sentences with one token per line and a blank line between sentences.

    The first column is the token and the last its tag; in CoNLL-U (ten columns, the first a number) they are
    the second and the fourth, without ranges of tokens (1-2) and empty nodes (1.1), which are not words.

    A line that begins with `#` is a comment where it cannot be a token: before a sentence, or without the
    columns of the file. Lines with another number of columns make their sentence a problem.

    Raises:
        DataError: lines were lost.
    """
    head = file.peek(HEAD)[:HEAD]
    encoding = detect_encoding(head, len(head) < HEAD, told)
    if encoding.startswith(("utf-16", "utf-32")):
        file, encoding = reencode_file(file, encoding), "utf-8"
    layout = _Layout(head.decode(encoding, "replace").removeprefix("\ufeff"), len(head) < HEAD)
    file, tally = add_tally(file)
    sentence = _Sentence(layout, encoding)
    row = lines = 0
    for number, _at, line in read_raw_lines(file, name):
        if number == 1 and line is not None:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line is not None and not line.strip():
            if sentence.lines:
                row += 1
                lines += sentence.lines
                yield sentence.make_row(name, row)
                sentence = _Sentence(layout, encoding)
            lines += 1
        else:
            lines += sentence.add_line(line, number)
    if sentence.lines:
        lines += sentence.lines
        yield sentence.make_row(name, row + 1)
    check_line_tally(name, lines, tally.line_count)


class _Layout:
    """How the lines of a file are laid out, judging by its first ones.

    Attributes:
        tabs: Columns are separated by tabs, and a token may contain blanks; else by blanks.
        width: The number of columns that most lines have.
        universal: The columns are those of CoNLL-U or CoNLL-X.
        token, tag: The columns of the token and of its tag, from 0.
        tags: Tags of lines that are certainly not comments.
    """

    def __init__(self, head: str, whole: bool = True) -> None:
        lines = head.split("\n")
        lines = [line.strip("\r\n") for line in (lines if whole else lines[:-1]) if line.strip()]
        # Comments would count as lines of other widths.
        lines = [line for line in lines if not line.startswith(("-DOCSTART-", "# "))][:_SEEN_LINES]
        self.tabs = bool(lines) and sum("\t" in line for line in lines) > len(lines) / 2
        rows = [self.split_cells(line) for line in lines]
        widths = [len(row) for row in rows if len(row) > 1]
        self.width = max(set(widths), key=lambda width: (widths.count(width), width)) if widths else 0
        rows = [row for row in rows if len(row) == self.width]
        # Two columns of which the first is a number are tagged numbers, not a numbered format.
        numbered = self.width > 2 and all(_U_NUMBER.fullmatch(row[0]) for row in rows)
        self.universal = numbered and self.width == _U_COLUMNS
        self.token, self.tag = int(numbered), 3 if self.universal else self.width - 1
        self.tags = {row[self.tag] for row in rows if not row[0].startswith("#")}

    def split_cells(self, line: str) -> list[str]:
        if self.tabs:
            cells = line.rstrip("\t \r").split("\t")
            return [cell.strip(" ") for cell in cells] if " " in line else cells
        # str.split() also splits at no-break spaces, which are part of a token in some languages.
        return line.split() if line.isascii() else _BLANKS.split(line.strip(" \t\r"))

    def is_comment(self, line: str, cells: list[str], inside: bool) -> bool:
        """Return whether a line is a comment; `inside` a sentence, only if it lacks the file's columns."""
        if line[:1] not in ("#", "-"):
            return False
        if line[0] == "-":
            return line.startswith("-DOCSTART-")
        if len(cells) != self.width:
            return not inside or line.startswith("# ")
        # It has the columns of the file: "# 1 . O" may be a tagged hash sign, unless its last word is not a
        # known tag.
        return not inside and not self.tabs and line.startswith("# ") and cells[self.tag] not in self.tags

    def name_columns(self) -> list[str]:
        """Name each column except the token's; `data.columns` can choose another one for the tags."""
        if self.universal:
            return ["id", "", "lemmas", "tags", "xpos", "feats", "head", "deprel", "deps", "misc"]
        return ["tags" if place == self.tag else f"column {place + 1}" for place in range(self.width)]


class _Sentence:
    """The lines since the last blank one. `lines` counts them, including comments within a sentence."""

    def __init__(self, layout: _Layout, encoding: str) -> None:
        self._layout, self._encoding = layout, encoding
        self._cells: list[list[str]] = []
        self._begin, self._problem = 0, ""
        self.lines = 0

    def add_line(self, line: bytes | None, number: int) -> int:
        """Add a line; returns 1 if it is a comment before the sentence, else 0."""
        if line is None:
            return self._add_problem_line(
                number, N_("the line is longer than {size}", size=format_bytes(MAX_LINE))
            )
        try:
            text = line.decode(self._encoding)
        except UnicodeDecodeError:
            return self._add_problem_line(number, N_("not {encoding} text", encoding=self._encoding))
        layout = self._layout
        cells = layout.split_cells(text)
        no_word = layout.universal and len(cells) == layout.width and not cells[0].isdigit()
        if layout.is_comment(text, cells, self.lines > 0) or (no_word and _U_NUMBER.fullmatch(cells[0])):
            # Lines before a sentence belong to no row, but must be in the count of lines.
            self.lines += self.lines > 0
            return int(self.lines == 0)
        if len(cells) > _MOST_COLUMNS:
            return self._add_problem_line(number, N_("more than {most} columns", most=_MOST_COLUMNS))
        if len(cells) != layout.width or layout.width < 2:
            return self._add_problem_line(
                number,
                N_("{cells} columns where the file has {width}", cells=len(cells), width=layout.width),
            )
        self._begin = self._begin or number
        self.lines += 1
        self._cells.append(cells)
        return 0

    def _add_problem_line(self, number: int, reason: str) -> int:
        self._begin = self._begin or number
        self.lines += 1
        # The first problem is kept; the lines after it only repeat it.
        self._problem = self._problem or reason
        return 0

    def make_row(self, name: str, number: int) -> Row:
        """Make a row of the sentence, with a list for each column."""
        layout = self._layout
        values = {"tokens": [cells[layout.token] for cells in self._cells]}
        for place, column in enumerate(layout.name_columns() if self._cells else ()):
            if place not in (layout.token, 0 if layout.token else -1):
                values[column] = [cells[place] for cells in self._cells]
        return Row(Origin(name, number, self._begin), values, self._problem)


def is_conll(head: bytes) -> bool:
    """Return whether a text file is certainly tagged sentences: CoNLL-U, or tags such as B-PER."""
    whole = len(head) < _SNIFFED
    text = head[:_SNIFFED].decode("utf-8", "replace").removeprefix("\ufeff")
    layout = _Layout(text, whole)
    if not 2 <= layout.width <= _MOST_COLUMNS:
        return False
    rows, tags = 0, set()
    for line in text.split("\n")[: None if whole else -1][:_SEEN_LINES]:
        cells = layout.split_cells(line)
        if not line.strip() or layout.is_comment(line, cells, False):
            continue
        if len(cells) != layout.width:
            return False
        rows += 1
        tags.add(cells[layout.tag])
    if layout.universal:
        return rows > 1
    return rows > 1 and len(tags) > 1 and all(map(_SPAN_TAG.fullmatch, tags))


def looks_like_tagged_blocks(head: bytes) -> bool:
    """Return whether a text file may hold tagged sentences, judging by its shape: short blocks in columns.

    Each line has the same number of columns, and the last one has few values that recur.
    """
    whole = len(head) < _SNIFFED
    lines = head[:_SNIFFED].decode("utf-8", "replace").removeprefix("\ufeff").split("\n")
    lines = [line.strip("\r") for line in (lines if whole else lines[:-1])]
    layout = _Layout("\n".join(lines))
    rows = [
        layout.split_cells(line)
        for line in lines
        if line.strip() and not line.startswith(("-DOCSTART-", "# "))
    ]
    if layout.width < 2 or len(rows) < 10 or any(len(row) != layout.width for row in rows):
        return False
    tags = [row[layout.tag] for row in rows]
    words = {row[layout.token] for row in rows}
    return (
        1 < len(set(tags)) <= 100 and 2 * len(set(tags)) < min(len(words), len(rows)) and _has_blocks(lines)
    )


def _has_blocks(lines: list[str]) -> bool:
    """Return whether blank lines separate blocks, and not every line from the next."""
    blank = [not line.strip() for line in lines]
    inner = sum(blank[:-1])
    return inner > 0 and (len(lines) - inner) > 2 * inner
