"""Read the lines of PostgreSQL's COPY … FROM stdin, which is how pg_dump writes rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from tui_tuner.data.sources.sqllexer import MAX_TEXT, Lexer, Token
from tui_tuner.data.sources.sqltext import decode_copy_field
from tui_tuner.locales import N_
from tui_tuner.text import format_bytes

CUT = N_("a COPY block without an end")


def read_copy_block(lexer: Lexer, options: list[Token]) -> Iterator[tuple[list[Any], int, str]]:
    """Yield (cells, line, problem) for each row in a block.

    Args:
        lexer: At the position after the semicolon that ends the statement.
        options: The tokens between FROM and that semicolon.
    """
    lexer.read_rest_of_line()
    told: dict[str, str] = {}
    for place, (kind, value) in enumerate(options):
        before = [word.upper() for _kind, word in options[:place] if word.upper() != "AS"]
        if kind in ("text", "word") and before:
            told[before[-1]] = value
    words = {value.upper() for kind, value in options if kind == "word"}
    if "CSV" in words:
        yield from _read_csv_block(lexer, told.get("DELIMITER", ","), told.get("NULL", ""), "HEADER" in words)
        return
    delimiter, null = told.get("DELIMITER", "\t"), told.get("NULL", "\\N")
    for text, line in _join_lines(lexer):
        if text is None:
            yield [], line, N_("the line is longer than {size}", size=format_bytes(MAX_TEXT))
        elif text == "\\.":
            return
        else:
            cells = text.split(delimiter)
            yield (
                [
                    None if cell == null else decode_copy_field(cell) if "\\" in cell else cell
                    for cell in cells
                ],
                line,
                "",
            )
    # The block ended without \. so rows may be missing.
    yield [], lexer.current_line, CUT


def _join_lines(lexer: Lexer) -> Iterator[tuple[str | None, int]]:
    """Yield lines with their numbers; a line that ends in a single backslash continues in the next one."""
    begun, begin = "", 0
    for text in lexer.read_raw_lines():
        line = begin or lexer.current_line
        # An odd number of backslashes at the end: the last one escapes the line feed, which is part of the
        # value.
        if text is not None and text != "\\." and (len(text) - len(text.rstrip("\\"))) % 2:
            begun, begin = f"{begun}{text[:-1]}\\n", line
            continue
        yield (text if text is None else begun + text), line
        begun, begin = "", 0
    if begun:
        yield begun, begin


def _read_csv_block(
    lexer: Lexer, delimiter: str, null: str, header: bool
) -> Iterator[tuple[list[Any], int, str]]:
    line, ended = 0, False

    def read_block() -> Iterator[str]:
        nonlocal line, ended
        for text in lexer.read_raw_lines():
            line = line or lexer.current_line
            if text == "\\.":
                ended = True
                return
            yield (text or "") + "\n"

    for cells in csv.reader(read_block(), delimiter=delimiter):
        if not header:
            yield [None if cell == null else cell for cell in cells], line, ""
        header, line = False, 0
    if not ended:
        yield [], lexer.current_line, CUT
