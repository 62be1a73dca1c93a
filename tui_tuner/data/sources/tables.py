"""Read CSV and TSV with any delimiter and encoding, as spreadsheets and pandas write them."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.line_tally import add_tally, check_line_tally
from tui_tuner.data.sources.lines import MAX_LINE, MOST_BLANK, make_blank_lines_error, reencode_file
from tui_tuner.data.sources.streams import HEAD, detect_encoding
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_DELIMITERS = (",", "\t", ";", "|")
_SEEN_FIRST = 50  # records that decide what the columns are
_SEPARATOR = re.compile(
    r'\ufeff?"?sep=(.)"?[ \t]*\r?\n', re.IGNORECASE
)  # Excel's first line, if there is one
_LINE_END = re.compile(r"\r\n|\r|\n")
_NUMBER = re.compile(r"[-+]?\d[\d., ]*(?:[eE][-+]?\d+)?%?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?")
_INDEX = re.compile(r"(?:Unnamed: \d+(?:_level_\d+)?|index)?")
# Names that no row has in one of its cells, so that the line that holds one is the line of names
_NAMES = {
    "text", "label", "prompt", "response", "question", "answer", "instruction", "input", "output",
    "completion", "context", "messages", "conversation", "chosen", "rejected", "id", "title", "content",
    "system", "score", "category", "class", "sentence", "query", "tokens", "tags", "index", "name",
    "source", "target",
}  # fmt: skip


@dataclass(slots=True)
class _Record:
    """One record as written, the line at which it begins, and what is wrong with it."""

    cells: list[str]
    line: int
    problem: str = ""

    @property
    def is_blank(self) -> bool:
        """Return whether it is not a row: an empty line, or nothing but delimiters."""
        cells = self.cells
        return (
            not (cells and cells[0] and not cells[0].isspace())
            and not self.problem
            and not any(cell.strip() for cell in cells)
        )


def read_csv(
    file: io.BufferedReader, name: str, told: str | None = None, header: str = "ask"
) -> Iterator[Row]:
    """Read the rows of a CSV, whose first line that is not empty names the columns.

    Empty lines are not rows; nor are lines before the names that begin with `#` and have other columns.
    Ragged rows and wrong bytes come as problems. A column without a name is skipped where it counts the
    rows (as pandas writes its index), and in rows in which it is empty.

    Args:
        header: `data.header`: present, absent (columns are `column 1` and so on), or ask where it is unsure.

    Raises:
        DataError: no header, a column name twice, a first line that may be a row, a quote without an end, or
            lost lines.
    """
    head = file.peek(HEAD)[:HEAD]
    encoding = detect_encoding(head, False, told)
    sample = head.decode(encoding, "replace")
    if encoding.startswith(("utf-16", "utf-32")):
        file, encoding = reencode_file(file, encoding), "utf-8-sig"
    file, tally = add_tally(file)
    # Wrong bytes survive as surrogates, so that only their own row becomes a problem.
    text = io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")
    lines = _LineSource(text, sample)
    records = _limit_blanks(_read_records(lines, name), name)
    first = next((record for record in records if not record.is_blank), None)
    if first is None or first.problem:
        problem = first.problem if first else N_("is empty: a CSV starts with a line of column names.")
        raise DataError(_(problem), where=one_line(name))
    # Names are settled once, before the first row is given: later rows cannot change them.
    seen = list(itertools.islice(records, _SEEN_FIRST))
    if header == "absent":
        seen.insert(0, first)
    names = _name_columns(first, [record for record in seen if not record.is_blank], name, header)
    row = 0
    for record in itertools.chain(seen, records):
        if not record.is_blank:
            row += 1
            yield _make_csv_row(record, names, Origin(name, row, record.line), encoding)
    check_line_tally(name, lines.accounted, lines.given)
    # Two counts: the first catches records that swallowed lines, the second lines that never came up to the
    # CSV reader.
    check_line_tally(name, lines.ends, tally.line_ends)


class _LineSource:
    """Physical lines for `csv.reader`; an endless one is cut, so that it ends as a problem.

    Attributes:
        given: Lines handed out. `ends`: those of them that end in a line feed.
        accounted: Lines of the records so far.
        done: The last line was handed out, and the reader asked for another one.
    """

    def __init__(self, text: io.TextIOWrapper, sample: str) -> None:
        self._text = text
        self.given = self.ends = self.accounted = 0
        self.done = False
        self.taken: list[str] = []  # raw lines since this was last emptied
        separator = _SEPARATOR.match(sample)
        if separator:
            self.ends += text.readline().endswith("\n")
            self.given = self.accounted = 1
            sample = sample[separator.end() :]
        comments = _count_comments(sample)
        for _unused in range(comments):
            self.ends += text.readline().endswith("\n")
        self.given = self.accounted = self.given + comments
        sample = sample.split("\n", comments)[-1]
        self.delimiter = separator.group(1) if separator else find_delimiter(sample)
        self._backslash = _escapes_quotes(sample, self.delimiter)
        self.quoting: Literal[0, 3] = (
            csv.QUOTE_NONE if _has_stray_quotes(sample, self.delimiter) else csv.QUOTE_MINIMAL
        )

    def __iter__(self) -> Iterator[str]:
        while True:
            line = rest = self._text.readline(MAX_LINE)
            if not line:
                self.done = True
                return
            self.given += 1
            while len(rest) >= MAX_LINE and not rest.endswith("\n"):
                # A NUL ends the loop at the end of the file; it is never handed out.
                rest = self._text.readline(MAX_LINE) or "\x00"
            self.ends += rest.endswith("\n")
            self.taken.append(line)
            yield re.sub(r'\\(["\\])', _double_quote, line) if self._backslash else line


def _count_comments(sample: str) -> int:
    """Count the lines before the column names that begin with `#` and have fewer or more columns."""
    lines = sample.removeprefix("\ufeff").split("\n")[:_SEEN_FIRST]
    count = next((place for place, line in enumerate(lines) if not line.startswith("#")), 0)
    if not count:
        return 0
    rest = sample.split("\n", count)[-1]
    delimiter = find_delimiter(rest)
    rows = _read_sample(rest, delimiter)[:_SEEN_FIRST]
    columns = len(rows[0]) if rows else 0
    if columns < 2 or any(len(row) != columns for row in rows):
        return 0
    return 0 if any(line.count(delimiter) + 1 == columns for line in lines[:count]) else count


def _double_quote(found: re.Match[str]) -> str:
    return '""' if found.group(1) == '"' else "\\"


def _limit_blanks(records: Iterator[_Record], name: str) -> Iterator[_Record]:
    """Pass records on, and stop where blank ones have no end."""
    blank = 0
    for record in records:
        blank = blank + 1 if record.is_blank else 0
        if blank > MOST_BLANK:
            raise make_blank_lines_error(name, record.line)
        yield record


def _read_records(lines: _LineSource, name: str) -> Iterator[_Record]:
    # Below the length at which lines are cut, so that a cut line always becomes a problem.
    csv.field_size_limit(max(MAX_LINE - 4096, MAX_LINE // 2))
    # strict=True would refuse the stray quotes that many exports contain.
    reader = csv.reader(lines, delimiter=lines.delimiter, quoting=lines.quoting, strict=False)
    width = 0
    while True:
        before = lines.given
        lines.taken.clear()
        problem = ""
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells, problem = [], N_("broken CSV: {error}", error=one_line(error, 80))
        # csv.reader accepts an open quote at the end of the file; that it asked for another line shows it.
        if lines.done and not problem:
            cells, problem = [], N_("a quote that is not closed")
        taken = lines.given - before
        width = width or len(cells)
        bare = lines.delimiter == "\t" and lines.quoting != csv.QUOTE_NONE
        if bare and (rows := _split_plain_rows(lines.taken, width)):
            for place, row in enumerate(rows, 1):
                lines.accounted += 1
                yield _Record(row, before + place)
            continue
        # A record over several lines is fine if they are inside of its quotes, which the counts below
        # prove.
        if taken > 1:
            if problem:
                raise DataError(
                    _("a quote in this line is not closed: it takes {lines:,} lines along.", lines=taken - 1),
                    where=f"{one_line(name)}:{before + 1}",
                    hint=_("Close the quote, or double it where it is part of a text."),
                )
            lines.accounted += sum(
                len(_LINE_END.findall(cell)) if "\r" in cell else cell.count("\n") for cell in cells
            )
        lines.accounted += 1
        yield _Record(cells, before + 1, problem)


def _split_plain_rows(lines: list[str], width: int) -> list[list[str]]:
    """Return one row for each line where quotes are plain characters, as in tables that quote nothing.

    That is so if the lines are not a valid record, and each of them has all columns; else empty.
    """
    if not any('"' in line for line in lines) or any(line.count("\t") != width - 1 for line in lines):
        return []
    if _read_strictly(lines) is not None:
        return []
    return [_read_strictly([line]) or line.rstrip("\r\n").split("\t") for line in lines]


def _read_strictly(lines: list[str]) -> list[str] | None:
    """Parse lines as one tab-separated record; None if their quotes are not valid."""
    try:
        records = list(csv.reader(lines, delimiter="\t", strict=True))
    except csv.Error:
        return None
    return records[0] if len(records) == 1 else None


def _name_columns(first: _Record, seen: list[_Record], name: str, header: str) -> list[str | None]:
    """Name each column; empty if it has no name, None if it is skipped."""
    # A name must be valid text whatever its bytes: it becomes a key of JSON and is shown.
    cells = [
        cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip() for cell in first.cells
    ]
    if header == "absent":
        return [f"column {place}" for place in range(1, len(cells) + 1)]
    if header == "ask" and _looks_like_row(cells):
        shown = ", ".join(one_line(cell, 30) for cell in cells[:6])
        raise DataError(
            _("the first line looks like a row, not like column names: {cells}.", cells=shown),
            where=f"{one_line(name)}:{first.line}",
            hint=build_hint(
                N_(
                    "If it is a row, {row} reads it as one and calls the columns column 1, column 2 and so "
                    "on; {names} uses it as names.",
                    row=write_setting({"data.header": "absent"}),
                    names=write_setting({"data.header": "present"}),
                )
            ),
            field="data.header",
        )
    names: list[str | None] = [*cells]
    if _INDEX.fullmatch(cells[0]) and _count_rows_from_start(seen):
        names[0] = None
    twice = sorted(cell for cell, times in Counter(filter(None, names)).items() if times > 1)
    if twice:
        raise DataError(
            _("the first line names {name!r} twice.", name=one_line(twice[0], 40)),
            where=f"{one_line(name)}:{first.line}",
            hint=_("The first line of a CSV must name each column once."),
        )
    return names


def _count_rows_from_start(records: list[_Record]) -> bool:
    """Return whether the first cells count the rows, from 0 or 1."""
    values = [record.cells[0].strip() for record in records if record.cells]
    start = values[0] if values else ""
    return start in ("0", "1") and values == [str(int(start) + step) for step in range(len(values))]


def _looks_like_row(cells: list[str]) -> bool:
    """Return whether the cells hold numbers or sentences, as rows do and column names do not."""
    # A long name such as "What is your question?" would otherwise look like a sentence.
    if any(cell.lower() in _NAMES for cell in cells):
        return False
    return any(
        _NUMBER.fullmatch(cell)
        or _DATE.fullmatch(cell)
        or len(cell) > 100
        or (cell[-1:] in ".!?。！？…" and len(cell) > 8 and cell[-3:] != "...")
        for cell in cells
    )


def _make_csv_row(record: _Record, names: list[str | None], origin: Origin, encoding: str) -> Row:
    cells = record.cells
    if record.problem:
        return Row(origin, {}, record.problem)
    if len(cells) > len(names) and not any(cell.strip() for cell in cells[len(names) :]):
        # Excel pads every line with delimiters up to its widest one.
        cells = cells[: len(names)]
    values: dict[Any, Any] = dict(zip(names, cells, strict=False))
    if not all(names):
        values = {
            column or f"column {place}": cell
            for place, (column, cell) in enumerate(zip(names, cells, strict=False), 1)
            if column or (column == "" and cell)
        }
    if len(cells) != len(names):
        return Row(origin, values, N_("not as many fields as the header has"))
    # These are bytes that did not decode: surrogateescape puts them there.
    if any("\udc80" <= char <= "\udcff" for cell in cells if not cell.isascii() for char in cell):
        return Row(
            origin, values, N_("bytes that are not {encoding} text", encoding=encoding.removesuffix("-sig"))
        )
    return Row(origin, values)


def find_delimiter(text: str) -> str:
    """Find the delimiter that cuts the first lines into the most regular table."""
    lines = text.splitlines(keepends=True)
    # The last line may be cut by the end of the sample.
    sample = "".join(lines[:-1] if len(lines) > 2 else lines)[:200_000]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        rows = _read_sample(sample, delimiter)
        width = len(rows[0]) if rows else 0
        if width < 2:
            continue
        # The small term prefers more columns where two delimiters are equally regular.
        score = sum(len(row) == width for row in rows) / len(rows) + 0.001 * min(width, 50)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _read_sample(sample: str, delimiter: str, strict: bool = False) -> list[list[str]]:
    """Parse the first records of a sample that are not blank; none if they are broken."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, strict=strict)
    try:
        return [row for row in itertools.islice(reader, 300) if any(cell.strip() for cell in row)][:200]
    except csv.Error:
        return []


def _has_stray_quotes(text: str, delimiter: str) -> bool:
    """Return whether quotes are plain characters, as in many tab-separated tables.

    They are if the text breaks the rules of quotes, and a cell begins with a quote that does not end it,
    while its line and the next one are complete rows all the same.
    """
    if delimiter != "\t" or '"' not in text:
        return False
    try:
        for _row in csv.reader(
            io.StringIO(text[: text.rfind("\n") + 1], newline=""), delimiter="\t", strict=True
        ):
            pass
        return False
    except csv.Error as error:
        if "unexpected end" in str(error):  # the sample ends inside of a cell
            return False
    rows = [line.split("\t") for line in text.splitlines()[:-1]]
    return any(
        len(row) == len(following) == len(rows[0]) and any(map(_is_open, row))
        for row, following in itertools.pairwise(rows)
    )


def _is_open(cell: str) -> bool:
    """Return whether a cell begins with a quote and does not end with one."""
    return cell.startswith('"') and not re.search(r'[^"](?:"")*"\Z', cell[1:])


def _escapes_quotes(text: str, delimiter: str) -> bool:
    r"""Return whether quotes inside quoted fields are written \", as Spark and MySQL do, and not doubled."""
    if '\\"' not in text:
        return False
    lines = text.splitlines(keepends=True)
    sample = "".join(lines[:-1] if len(lines) > 2 else lines)[:200_000]
    if _read_sample(sample, delimiter, strict=True):
        return False
    rows = _read_sample(re.sub(r'\\(["\\])', _double_quote, sample), delimiter, strict=True)
    return bool(rows) and len({len(row) for row in rows}) == 1


def is_tab_separated(head: bytes) -> bool:
    """Return whether all of the first lines of a text file have the same number of tab-separated columns."""
    lines = head.split(b"\n")
    lines = [line for line in (lines[:-1] if len(lines) > 1 else lines) if line.strip()][:200]
    tabs = {line.strip(b" \r").count(b"\t") for line in lines}
    return len(lines) >= 5 and len(tabs) == 1 and tabs != {0} and not any(line[:1] == b"\t" for line in lines)
