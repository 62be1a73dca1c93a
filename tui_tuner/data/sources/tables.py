"""Tables as text: CSV and TSV with any delimiter and encoding, as spreadsheets and pandas write them."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tui_tuner.config.advice import advise, setting
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.lines import MAX_LINE, MOST_BLANK, reencoded, too_blank
from tui_tuner.data.sources.streams import HEAD, encoding_of
from tui_tuner.data.sources.tally import lines_must_agree, tallied
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_DELIMITERS = (",", "\t", ";", "|")
_SEEN_FIRST = 50  # records that say what the columns are
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
    """One record as it stands, the line at which it begins, and what is wrong with it."""

    cells: list[str]
    line: int
    problem: str = ""

    @property
    def blank(self) -> bool:
        """Whether it is no row: an empty line, or nothing but delimiters."""
        cells = self.cells
        return (
            not (cells and cells[0] and not cells[0].isspace())
            and not self.problem
            and not any(cell.strip() for cell in cells)
        )


def read_csv(
    file: io.BufferedReader, name: str, told: str | None = None, header: str = "ask"
) -> Iterator[Row]:
    """Rows of a CSV; its first line that is not empty names the columns. Empty lines are no rows, nor are
    lines before it that begin with `#` and have not its columns.

    Ragged rows and wrong bytes come as problems. A column without a name is passed over where it counts the
    rows (as pandas writes its index), and in rows in which it is empty.

    Args:
        header: `data.header`: present, absent (columns are `column 1` and so on), or ask where it is unsure.

    Raises:
        DataError: no header, a column name twice, a first line that may be a row, a quote without an end, or
            lines that were lost.
    """
    head = file.peek(HEAD)[:HEAD]
    encoding = encoding_of(head, False, told)
    sample = head.decode(encoding, "replace")
    if encoding.startswith(("utf-16", "utf-32")):
        file, encoding = reencoded(file, encoding), "utf-8-sig"
    file, tally = tallied(file)
    text = io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")
    lines = _Lines(text, sample)
    records = _ending(_records(lines, name), name)
    first = next((record for record in records if not record.blank), None)
    if first is None or first.problem:
        problem = first.problem if first else N_("is empty: a CSV starts with a line of column names.")
        raise DataError(_(problem), where=one_line(name))
    seen = list(itertools.islice(records, _SEEN_FIRST))
    if header == "absent":
        seen.insert(0, first)
    names = _columns(first, [record for record in seen if not record.blank], name, header)
    row = 0
    for record in itertools.chain(seen, records):
        if not record.blank:
            row += 1
            yield _csv_row(record, names, Origin(name, row, record.line), encoding)
    lines_must_agree(name, lines.accounted, lines.given)
    lines_must_agree(name, lines.ends, tally.ends)


class _Lines:
    """Physical lines for `csv.reader`; one without an end is cut, so that it ends as a problem.

    Attributes:
        given: Lines given out. `ends`: those that end in a line feed.
        accounted: Lines of the records so far.
        done: The last line was given out, and another one asked for.
    """

    def __init__(self, text: io.TextIOWrapper, sample: str) -> None:
        self._text = text
        self.given = self.ends = self.accounted = 0
        self.done = False
        self.taken: list[str] = []  # as they stand, since this was last emptied
        separator = _SEPARATOR.match(sample)
        if separator:
            self.ends += text.readline().endswith("\n")
            self.given = self.accounted = 1
            sample = sample[separator.end() :]
        comments = _comments_before(sample)
        for _unused in range(comments):
            self.ends += text.readline().endswith("\n")
        self.given = self.accounted = self.given + comments
        sample = sample.split("\n", comments)[-1]
        self.delimiter = separator.group(1) if separator else delimiter_of(sample)
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
                rest = self._text.readline(MAX_LINE) or "\x00"
            self.ends += rest.endswith("\n")
            self.taken.append(line)
            yield re.sub(r'\\(["\\])', _doubled, line) if self._backslash else line


def _comments_before(sample: str) -> int:
    """How many lines before the names of columns begin with `#` and have not as many columns."""
    lines = sample.removeprefix("\ufeff").split("\n")[:_SEEN_FIRST]
    count = next((place for place, line in enumerate(lines) if not line.startswith("#")), 0)
    if not count:
        return 0
    rest = sample.split("\n", count)[-1]
    delimiter = delimiter_of(rest)
    rows = _sampled(rest, delimiter)[:_SEEN_FIRST]
    columns = len(rows[0]) if rows else 0
    if columns < 2 or any(len(row) != columns for row in rows):
        return 0
    return 0 if any(line.count(delimiter) + 1 == columns for line in lines[:count]) else count


def _doubled(found: re.Match[str]) -> str:
    return '""' if found.group(1) == '"' else "\\"


def _ending(records: Iterator[_Record], name: str) -> Iterator[_Record]:
    """The same records, as long as blank ones do not go on without end."""
    blank = 0
    for record in records:
        blank = blank + 1 if record.blank else 0
        if blank > MOST_BLANK:
            raise too_blank(name, record.line)
        yield record


def _records(lines: _Lines, name: str) -> Iterator[_Record]:
    # Below the length at which lines are cut, so that a cut line always ends as a problem of its own.
    csv.field_size_limit(max(MAX_LINE - 4096, MAX_LINE // 2))
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
        if lines.done and not problem:  # it asked for more in the middle of a field
            cells, problem = [], N_("a quote that is not closed")
        taken = lines.given - before
        width = width or len(cells)
        bare = lines.delimiter == "\t" and lines.quoting != csv.QUOTE_NONE
        if bare and (rows := _plain_rows(lines.taken, width)):
            for place, row in enumerate(rows, 1):
                lines.accounted += 1
                yield _Record(row, before + place)
            continue
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


def _plain_rows(lines: list[str], width: int) -> list[list[str]]:
    """A row of each line, where quotes are no more than a part of a text, as in tables that quote nothing.

    So it is where the lines are no record by the rules, and each has all columns by itself; else empty.
    """
    if not any('"' in line for line in lines) or any(line.count("\t") != width - 1 for line in lines):
        return []
    if _read_strictly(lines) is not None:
        return []
    return [_read_strictly([line]) or line.rstrip("\r\n").split("\t") for line in lines]


def _read_strictly(lines: list[str]) -> list[str] | None:
    """The only record in lines with columns between tabs; None if their quotes are not as they should be."""
    try:
        records = list(csv.reader(lines, delimiter="\t", strict=True))
    except csv.Error:
        return None
    return records[0] if len(records) == 1 else None


def _columns(first: _Record, seen: list[_Record], name: str, header: str) -> list[str | None]:
    """A name for each column; empty where it has none, and None where it is passed over."""
    # a name has to be text, whatever bytes stand in it
    cells = [
        cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip() for cell in first.cells
    ]
    if header == "absent":
        return [f"column {place}" for place in range(1, len(cells) + 1)]
    if header == "ask" and _looks_like_row(cells):
        shown = ", ".join(one_line(cell, 30) for cell in cells[:6])
        raise DataError(
            _("the first line looks like a row, not like names of columns: {cells}.", cells=shown),
            where=f"{one_line(name)}:{first.line}",
            hint=advise(
                N_(
                    "If it is a row, {row} reads it as one, and names the columns column 1, column 2 and so "
                    "on; {names} takes it as names.",
                    row=setting({"data.header": "absent"}),
                    names=setting({"data.header": "present"}),
                )
            ),
            field="data.header",
        )
    names: list[str | None] = [*cells]
    if _INDEX.fullmatch(cells[0]) and _counts(seen):
        names[0] = None
    twice = sorted(cell for cell, times in Counter(filter(None, names)).items() if times > 1)
    if twice:
        raise DataError(
            _("the first line names {name!r} twice.", name=one_line(twice[0], 40)),
            where=f"{one_line(name)}:{first.line}",
            hint=_("The first line of a CSV has to name each column once."),
        )
    return names


def _counts(records: list[_Record]) -> bool:
    """Whether the first cells count the rows, from 0 or 1."""
    values = [record.cells[0].strip() for record in records if record.cells]
    start = values[0] if values else ""
    return start in ("0", "1") and values == [str(int(start) + step) for step in range(len(values))]


def _looks_like_row(cells: list[str]) -> bool:
    """Whether what should be names of columns holds numbers or sentences, as rows do."""
    if any(cell.lower() in _NAMES for cell in cells):
        return False
    return any(
        _NUMBER.fullmatch(cell)
        or _DATE.fullmatch(cell)
        or len(cell) > 100
        or (cell[-1:] in ".!?。！？…" and len(cell) > 8 and cell[-3:] != "...")
        for cell in cells
    )


def _csv_row(record: _Record, names: list[str | None], origin: Origin, encoding: str) -> Row:
    cells = record.cells
    if record.problem:
        return Row(origin, {}, record.problem)
    if len(cells) > len(names) and not any(cell.strip() for cell in cells[len(names) :]):
        cells = cells[: len(names)]  # delimiters at the end of the line
    values: dict[Any, Any] = dict(zip(names, cells, strict=False))
    if not all(names):
        values = {
            column or f"column {place}": cell
            for place, (column, cell) in enumerate(zip(names, cells, strict=False), 1)
            if column or (column == "" and cell)
        }
    if len(cells) != len(names):
        return Row(origin, values, N_("not as many fields as the header has"))
    if any("\udc80" <= char <= "\udcff" for cell in cells if not cell.isascii() for char in cell):
        return Row(
            origin, values, N_("bytes that are not {encoding} text", encoding=encoding.removesuffix("-sig"))
        )
    return Row(origin, values)


def delimiter_of(text: str) -> str:
    """The delimiter that cuts the first lines into the most regular table."""
    lines = text.splitlines(keepends=True)
    sample = "".join(lines[:-1] if len(lines) > 2 else lines)[:200_000]
    best, best_score = ",", 0.0
    for delimiter in _DELIMITERS:
        rows = _sampled(sample, delimiter)
        width = len(rows[0]) if rows else 0
        if width < 2:
            continue
        score = sum(len(row) == width for row in rows) / len(rows) + 0.001 * min(width, 50)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _sampled(sample: str, delimiter: str, strict: bool = False) -> list[list[str]]:
    """The first records of a sample that are not blank; none if they are broken."""
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, strict=strict)
    try:
        return [row for row in itertools.islice(reader, 300) if any(cell.strip() for cell in row)][:200]
    except csv.Error:
        return []


def _has_stray_quotes(text: str, delimiter: str) -> bool:
    """Whether quotes are characters like others, as in many tables between tabs.

    They are where the text is no table by the rules of quotes, and a cell begins with a quote that does not
    end it, while its line and the next one are whole rows all the same.
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
    """Whether a cell begins with a quote and does not end with one."""
    return cell.startswith('"') and not re.search(r'[^"](?:"")*"\Z', cell[1:])


def _escapes_quotes(text: str, delimiter: str) -> bool:
    r"""Whether quotes inside of quoted fields are written \", as Spark and MySQL do, and not doubled."""
    if '\\"' not in text:
        return False
    lines = text.splitlines(keepends=True)
    sample = "".join(lines[:-1] if len(lines) > 2 else lines)[:200_000]
    if _sampled(sample, delimiter, strict=True):
        return False
    rows = _sampled(re.sub(r'\\(["\\])', _doubled, sample), delimiter, strict=True)
    return bool(rows) and len({len(row) for row in rows}) == 1


def is_tabbed(head: bytes) -> bool:
    """Whether each of the first lines of a text file has the same number of columns between tabs."""
    lines = head.split(b"\n")
    lines = [line for line in (lines[:-1] if len(lines) > 1 else lines) if line.strip()][:200]
    tabs = {line.strip(b" \r").count(b"\t") for line in lines}
    return len(lines) >= 5 and len(tabs) == 1 and tabs != {0} and not any(line[:1] == b"\t" for line in lines)
