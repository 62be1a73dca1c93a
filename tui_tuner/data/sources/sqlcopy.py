"""The lines of PostgreSQL's COPY … FROM stdin, which is how pg_dump writes rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from tui_tuner.data.sources.sqllexer import MAX_TEXT, Lexer, Token
from tui_tuner.data.sources.sqltext import copy_text
from tui_tuner.locales import N_
from tui_tuner.text import human_bytes

CUT = N_("a COPY block without its end")


def copied(lexer: Lexer, options: list[Token]) -> Iterator[tuple[list[Any], int, str]]:
    """(cells, line, problem) of each row in a block.

    Args:
        lexer: It stands behind the semicolon that ends the statement.
        options: Tokens between FROM and that semicolon.
    """
    lexer.rest_of_line()
    told: dict[str, str] = {}
    for place, (kind, value) in enumerate(options):
        before = [word.upper() for _kind, word in options[:place] if word.upper() != "AS"]
        if kind in ("text", "word") and before:
            told[before[-1]] = value
    words = {value.upper() for kind, value in options if kind == "word"}
    if "CSV" in words:
        yield from _csv_rows(lexer, told.get("DELIMITER", ","), told.get("NULL", ""), "HEADER" in words)
        return
    delimiter, null = told.get("DELIMITER", "\t"), told.get("NULL", "\\N")
    for text, line in _lines(lexer):
        if text is None:
            yield [], line, N_("the line is longer than {size}", size=human_bytes(MAX_TEXT))
        elif text == "\\.":
            return
        else:
            cells = text.split(delimiter)
            yield (
                [None if cell == null else copy_text(cell) if "\\" in cell else cell for cell in cells],
                line,
                "",
            )
    yield [], lexer.line, CUT


def _lines(lexer: Lexer) -> Iterator[tuple[str | None, int]]:
    """Lines with their numbers; one that ends in a lone backslash goes on in the next."""
    begun, begin = "", 0
    for text in lexer.raw_lines():
        line = begin or lexer.line
        if text is not None and text != "\\." and (len(text) - len(text.rstrip("\\"))) % 2:
            begun, begin = f"{begun}{text[:-1]}\\n", line
            continue
        yield (text if text is None else begun + text), line
        begun, begin = "", 0
    if begun:
        yield begun, begin


def _csv_rows(lexer: Lexer, delimiter: str, null: str, header: bool) -> Iterator[tuple[list[Any], int, str]]:
    line, ended = 0, False

    def block() -> Iterator[str]:
        nonlocal line, ended
        for text in lexer.raw_lines():
            line = line or lexer.line
            if text == "\\.":
                ended = True
                return
            yield (text or "") + "\n"

    for cells in csv.reader(block(), delimiter=delimiter):
        if not header:
            yield [None if cell == null else cell for cell in cells], line, ""
        header, line = False, 0
    if not ended:
        yield [], lexer.line, CUT
