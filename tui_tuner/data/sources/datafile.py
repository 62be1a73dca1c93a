"""One file of a data set, and the reader that its kind needs."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tui_tuner.config.advice import advise, setting
from tui_tuner.data.nesting import MAX_DEPTH, is_deeper
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.columnar import read_arrow, read_parquet
from tui_tuner.data.sources.conll import is_blocks, is_conll, read_conll
from tui_tuner.data.sources.documents import read_document, read_hub
from tui_tuner.data.sources.jsonvalues import is_json_list, is_jsonl
from tui_tuner.data.sources.lines import read_json, read_jsonl, read_text
from tui_tuner.data.sources.native.process import FREE_ROWS, ROWS_RATIO
from tui_tuner.data.sources.sqldump import read_sql
from tui_tuner.data.sources.streams import HEAD, encoding_of, open_bytes
from tui_tuner.data.sources.tables import is_tabbed, read_csv
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

# Names in data.path that mean data inside this package, and the function of `demo` that makes its rows.
DEMO = {
    "demo": "rows",
    "demo-corpus": "corpus_rows",
    "demo-held-out": "held_out_rows",
    "demo-reviews": "review_rows",
    "demo-tags": "tag_rows",
    "demo-questions": "question_rows",
}
# Suffixes of files that are unpacked while they are read
PACKED = {".gz", ".zst", ".zstd"}


@dataclass(frozen=True)
class DataFile:
    """One file (or zip member, or hub data set, or the demo) with a reader's name."""

    path: str
    kind: str
    member: str | None = None
    field: str | None = None
    size: int = 0
    encoding: str | None = None
    header: str = "ask"
    told: str = "auto"  # data.format: what its rows are
    label: str = ""  # the class that it is in, where folders are classes

    @property
    def name(self) -> str:
        return f"{self.path}/{self.member}" if self.member else self.path

    def guessed_encoding(self) -> str:
        """The encoding its text is read in, if that is a guess; empty for UTF-8 and binary files."""
        if self.encoding is not None or self.kind in ("parquet", "arrow", "hub", "demo"):
            return ""
        with open_bytes(Path(self.path), self.member) as source:
            head = source.peek(HEAD)[:HEAD]
        name = encoding_of(head, len(head) < HEAD)
        return "" if name.startswith("utf") else name

    def rows(self) -> Iterator[Row]:
        """Every row of the file, broken ones with their problem.

        Raises:
            DataError: the file as a whole cannot be read, or holds more rows than a file of its size can.
        """
        most = sys.maxsize if self.kind in ("hub", "demo") else _most_rows(self)
        try:
            for number, row in enumerate(_READERS[self.kind](self), 1):
                if number > most:
                    raise DataError(
                        _(
                            "holds more than {rows:,} rows, too many for its size: that is no data.",
                            rows=most,
                        ),
                        where=one_line(self.name),
                        hint=_("Unpack it yourself if you trust it."),
                    )
                yield _without_depths(row) if is_deeper(row.values.values(), MAX_DEPTH) else row
        except UnicodeError as error:
            raise DataError(
                _("holds bytes that are not text: {error}.", error=one_line(error, 80)),
                where=one_line(self.name),
            ) from None
        except RecursionError:
            raise DataError(_("is nested too deeply."), where=one_line(self.name)) from None


def _most_rows(file: DataFile) -> int:
    """More rows than this come only out of a file that unpacks to nothing but the same again and again."""
    try:
        size = os.path.getsize(file.path)
    except OSError:
        return FREE_ROWS
    return max(FREE_ROWS, ROWS_RATIO * size)


def _without_depths(row: Row) -> Row:
    names = ", ".join(map(str, itertools.islice(row.values, 20)))
    return Row(row.origin, {"": names[:200]}, N_("nested more than {most} deep", most=MAX_DEPTH))


def _bytes_reader(
    read: Callable[..., Iterator[Row]],
) -> Callable[[DataFile], Iterator[Row]]:
    def rows(file: DataFile) -> Iterator[Row]:
        with open_bytes(Path(file.path), file.member) as source:
            yield from read(source, file.name, told=file.encoding)

    return rows


def _json_rows(file: DataFile) -> Iterator[Row]:
    packed = file.member or Path(file.path).suffix.lower() in PACKED
    with open_bytes(Path(file.path), file.member) as source:
        yield from read_json(source, file.name, None if packed else file.size, file.field, file.encoding)


def _jsonl_rows(file: DataFile) -> Iterator[Row]:
    """Lines; a file that begins with a bracket may be a JSON list under the wrong name."""
    with open_bytes(Path(file.path), file.member) as source:
        if not is_json_list(source.peek(HEAD)[:HEAD]):
            yield from read_jsonl(source, file.name, file.encoding)
            return
    yield from _json_rows(file)


def _csv_rows(file: DataFile) -> Iterator[Row]:
    """Rows of a table; tagged sentences where the columns between tabs are surely those."""
    with open_bytes(Path(file.path), file.member) as source:
        if file.told in ("auto", "token_tags") and is_conll(source.peek(HEAD)[:HEAD]):
            yield from read_conll(source, file.name, file.encoding)
        else:
            yield from read_csv(source, file.name, file.encoding, file.header)


def _class_rows(file: DataFile) -> Iterator[Row]:
    """The whole file is one text."""
    with open_bytes(Path(file.path), file.member) as source:
        for row in read_document(source, file.name, file.encoding):
            yield row if row.problem else Row(row.origin, {**row.values, "label": file.label})


def _text_rows(file: DataFile) -> Iterator[Row]:
    """Lines of text; tagged sentences or JSON where they look like it and `data.format` does not say text."""
    with open_bytes(Path(file.path), file.member) as source:
        head = b"" if file.told == "text" else source.peek(HEAD)[:HEAD]
        read = read_conll if is_conll(head) else read_jsonl if is_jsonl(head) else read_text
        if read is read_text and file.told == "token_tags":
            read = read_conll
        elif read is read_text and file.told == "auto":
            _must_be_text(head, file)
        yield from read(source, file.name, file.encoding)


def _must_be_text(head: bytes, file: DataFile) -> None:
    """Ask about lines that look like rows of something else.

    Raises:
        DataError: they do.
    """
    if is_blocks(head):
        raise DataError(
            _("every line is a word with its tag: it looks like tagged sentences."),
            where=one_line(file.name),
            hint=advise(
                N_(
                    "Read it as those with {tags}, or as text with {text}.",
                    tags=setting({"data.format": "token_tags"}),
                    text=setting({"data.format": "text"}),
                )
            ),
            field="data.format",
        )
    if is_tabbed(head):
        raise DataError(
            _("every line has columns between tabs: it looks like a table."),
            where=one_line(file.name),
            hint=advise(
                N_(
                    "Rename it to .tsv, or read it as lines of text with {text}.",
                    text=setting({"data.format": "text"}),
                )
            ),
            field="data.format",
        )


def _sql_rows(file: DataFile) -> Iterator[Row]:
    with open_bytes(Path(file.path), file.member) as source:
        yield from read_sql(source, file.name, file.field, file.encoding)


def _demo_rows(file: DataFile) -> Iterator[Row]:
    from tui_tuner import demo

    rows = getattr(demo, DEMO[file.path])()
    for number, values in enumerate(rows, 1):
        yield Row(Origin(file.path, number), values)


_READERS: dict[str, Callable[[DataFile], Iterator[Row]]] = {
    "jsonl": _jsonl_rows,
    "json": _json_rows,
    "csv": _csv_rows,
    "text": _text_rows,
    "parquet": lambda file: read_parquet(Path(file.path), file.name),
    "arrow": lambda file: read_arrow(Path(file.path), file.name),
    "demo": _demo_rows,
    "document": _bytes_reader(read_document),
    "class": _class_rows,
    "conll": _bytes_reader(read_conll),
    "sql": _sql_rows,
    "hub": lambda file: read_hub(file.path, file.field),
}
