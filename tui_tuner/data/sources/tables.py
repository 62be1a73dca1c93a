"""Readers of tables: CSV and TSV with any delimiter and encoding, Parquet, Arrow."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.lines import MAX_LINE
from tui_tuner.data.sources.streams import HEAD, encoding_of
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import human_bytes, one_line

_DELIMITERS = (",", "\t", ";", "|")
_BATCH_ROWS = 256


def read_csv(file: io.BufferedReader, name: str, told: str | None = None) -> Iterator[Row]:
    """Rows of a CSV; the first line names the columns. Ragged rows and wrong bytes come as problems.

    Raises:
        DataError: no header, or a column name twice.
    """
    head = file.peek(HEAD)[:HEAD]
    encoding = encoding_of(head, False, told)
    errors = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    text = io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
    delimiter = delimiter_of(head.decode(encoding, "replace"))
    # Below the length at which lines are cut, so that a cut line always ends as a problem of its own.
    csv.field_size_limit(max(MAX_LINE - 4096, MAX_LINE // 2))
    reader = csv.reader(_guarded(text), delimiter=delimiter, strict=False)
    header = _header(reader, name)
    row = 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            row += 1
            yield Row(Origin(name, row, line), {}, N_("broken CSV: {error}", error=one_line(error, 80)))
            continue
        if not cells or (len(cells) == 1 and not cells[0].strip() and len(header) > 1):
            continue
        row += 1
        yield _csv_row(cells, header, Origin(name, row, line), encoding)


def _guarded(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines; one without an end is cut, so that it ends as a problem and not in memory."""
    while True:
        line = text.readline(MAX_LINE)
        if not line:
            return
        yield line
        while len(line) == MAX_LINE and not line.endswith("\n"):
            line = text.readline(MAX_LINE)


def _header(reader: Any, name: str) -> list[str]:
    where = one_line(name)
    try:
        header = [cell.strip() for cell in next(reader, [])]
    except csv.Error as error:
        raise DataError(_("broken CSV: {error}.", error=one_line(error, 80)), where=f"{where}:1") from None
    if not any(header):
        raise DataError(_("is empty: a CSV starts with a line of column names."), where=where)
    twice = sorted({cell for cell in header if cell and header.count(cell) > 1})
    if twice:
        raise DataError(
            _("the first line names {name!r} twice.", name=one_line(twice[0], 40)),
            where=f"{where}:1",
            hint=_("The first line of a CSV has to name each column once."),
        )
    return [cell or f"column {place}" for place, cell in enumerate(header, 1)]


def _csv_row(cells: list[str], header: list[str], origin: Origin, encoding: str) -> Row:
    values: dict[str, Any] = dict(zip(header, cells, strict=False))
    if len(cells) != len(header):
        return Row(origin, values, N_("not as many fields as the header has"))
    if any("\udc80" <= char <= "\udcff" for cell in cells if not cell.isascii() for char in cell):
        return Row(origin, values, N_("bytes that are not {encoding} text", encoding=encoding))
    return Row(origin, values)


def delimiter_of(text: str) -> str:
    """The delimiter that cuts the first lines into the most regular table."""
    lines = text.splitlines(keepends=True)
    sample = "".join(lines[:-1] if len(lines) > 2 else lines)[:200_000]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        try:
            rows = [row for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter) if row][
                :200
            ]
        except csv.Error:
            continue
        width = len(rows[0]) if rows else 0
        if width < 2:
            continue
        score = sum(len(row) == width for row in rows) / len(rows) + 0.001 * min(width, 50)
        if score > best_score:
            best, best_score = delimiter, score
    return best
