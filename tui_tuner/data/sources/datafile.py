"""Describe one file of a data set, and pick the reader for its kind."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.data.nesting import MAX_DEPTH, is_nested_deeper
from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.columnar import read_arrow, read_parquet
from tui_tuner.data.sources.conll import is_conll, looks_like_tagged_blocks, read_conll
from tui_tuner.data.sources.documents import read_document, read_hub_rows
from tui_tuner.data.sources.jsonvalues import is_json_list, is_jsonl
from tui_tuner.data.sources.lines import read_json, read_jsonl, read_text_lines
from tui_tuner.data.sources.native.process import FREE_ROWS, ROWS_RATIO
from tui_tuner.data.sources.sqldump import read_sql
from tui_tuner.data.sources.streams import HEAD, detect_encoding, open_byte_stream
from tui_tuner.data.sources.tables import is_tab_separated, read_csv
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
    "demo-texts": "text_rows",
    "demo-summaries": "summary_rows",
    "demo-laboratory": "laboratory_rows",
}
# Suffixes of files that are unpacked while they are read
PACKED = {".gz", ".zst", ".zstd"}


@dataclass(frozen=True)
class DataFile:
    """One file, zip member, hub data set or demo set, with the name of its reader."""

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

    def guess_encoding(self) -> str:
        """Return the encoding if it is only a guess; empty for UTF-8 and binary files."""
        if self.encoding is not None or self.kind in ("parquet", "arrow", "hub", "demo"):
            return ""
        with open_byte_stream(Path(self.path), self.member) as source:
            head = source.peek(HEAD)[:HEAD]
        name = detect_encoding(head, len(head) < HEAD)
        return "" if name.startswith("utf") else name

    def iterate_rows(self) -> Iterator[Row]:
        """Read every row of the file; broken rows carry their problem.

        Raises:
            DataError: the file as a whole cannot be read, or holds more rows than a file of its size can.
        """
        # Neither has a size on disk to compare with.
        most = sys.maxsize if self.kind in ("hub", "demo") else _limit_rows(self)
        try:
            for number, row in enumerate(_READERS[self.kind](self), 1):
                if number > most:
                    raise DataError(
                        _(
                            "holds more than {rows:,} rows, too many for its size: it is not data.",
                            rows=most,
                        ),
                        where=one_line(self.name),
                        hint=_("Unpack it yourself if you trust it."),
                    )
                yield _strip_nesting(row) if is_nested_deeper(row.values.values(), MAX_DEPTH) else row
        except UnicodeError as error:
            raise DataError(
                _("holds bytes that are not text: {error}.", error=one_line(error, 80)),
                where=one_line(self.name),
            ) from None
        except RecursionError:
            raise DataError(_("is nested too deeply."), where=one_line(self.name)) from None


def _limit_rows(file: DataFile) -> int:
    """Return the most rows that a file of this size can plausibly hold."""
    try:
        size = os.path.getsize(file.path)
    except OSError:
        return FREE_ROWS
    # Only a file that unpacks to the same bytes over and over holds more rows than this.
    return max(FREE_ROWS, ROWS_RATIO * size)


def _strip_nesting(row: Row) -> Row:
    # Only the names of the columns are shown: printing the values would recurse as deeply as they do.
    names = ", ".join(map(str, itertools.islice(row.values, 20)))
    return Row(row.origin, {"": names[:200]}, N_("nested more than {most} deep", most=MAX_DEPTH))


def _make_reader(
    read: Callable[..., Iterator[Row]],
) -> Callable[[DataFile], Iterator[Row]]:
    def read_bytes_rows(file: DataFile) -> Iterator[Row]:
        with open_byte_stream(Path(file.path), file.member) as source:
            yield from read(source, file.name, told=file.encoding)

    return read_bytes_rows


def _read_json_rows(file: DataFile) -> Iterator[Row]:
    # The size on disk says nothing about the text of a packed file.
    packed = file.member or Path(file.path).suffix.lower() in PACKED
    with open_byte_stream(Path(file.path), file.member) as source:
        yield from read_json(source, file.name, None if packed else file.size, file.field, file.encoding)


def _read_jsonl_rows(file: DataFile) -> Iterator[Row]:
    """Read JSON lines; a file that begins with a bracket may be a JSON list under the wrong name."""
    with open_byte_stream(Path(file.path), file.member) as source:
        # `peek` may give more than asked for, or less at the end of a file.
        if not is_json_list(source.peek(HEAD)[:HEAD]):
            yield from read_jsonl(source, file.name, file.encoding)
            return
    yield from _read_json_rows(file)


def _read_table_rows(file: DataFile) -> Iterator[Row]:
    """Read a table, or tagged sentences where tab-separated columns clearly are those."""
    with open_byte_stream(Path(file.path), file.member) as source:
        if file.told in ("auto", "token_tags") and is_conll(source.peek(HEAD)[:HEAD]):
            yield from read_conll(source, file.name, file.encoding)
        else:
            yield from read_csv(source, file.name, file.encoding, file.header)


def _read_class_rows(file: DataFile) -> Iterator[Row]:
    """Read a file of a class folder: the whole file is one labelled text."""
    with open_byte_stream(Path(file.path), file.member) as source:
        for row in read_document(source, file.name, file.encoding):
            yield row if row.problem else Row(row.origin, {**row.values, "label": file.label})


def _read_text_rows(file: DataFile) -> Iterator[Row]:
    """Read lines of text, or tagged sentences or JSON if they look like it and `data.format` is not text."""
    with open_byte_stream(Path(file.path), file.member) as source:
        head = b"" if file.told == "text" else source.peek(HEAD)[:HEAD]
        read = read_conll if is_conll(head) else read_jsonl if is_jsonl(head) else read_text_lines
        if read is read_text_lines and file.told == "token_tags":
            read = read_conll
        elif read is read_text_lines and file.told == "auto":
            _check_is_text(head, file)
        yield from read(source, file.name, file.encoding)


def _check_is_text(head: bytes, file: DataFile) -> None:
    """Refuse lines that look like rows of another kind, and ask which it is.

    Raises:
        DataError: the lines look like tagged sentences or a table.
    """
    if looks_like_tagged_blocks(head):
        raise DataError(
            _("every line is a word with its tag: it looks like tagged sentences."),
            where=one_line(file.name),
            hint=build_hint(
                N_(
                    "Read it as those with {tags}, or as text with {text}.",
                    tags=write_setting({"data.format": "token_tags"}),
                    text=write_setting({"data.format": "text"}),
                )
            ),
            field="data.format",
        )
    if is_tab_separated(head):
        raise DataError(
            _("every line has columns between tabs: it looks like a table."),
            where=one_line(file.name),
            hint=build_hint(
                N_(
                    "Rename it to .tsv, or read it as lines of text with {text}.",
                    text=write_setting({"data.format": "text"}),
                )
            ),
            field="data.format",
        )


def _read_sql_rows(file: DataFile) -> Iterator[Row]:
    with open_byte_stream(Path(file.path), file.member) as source:
        yield from read_sql(source, file.name, file.field, file.encoding)


def _read_demo_rows(file: DataFile) -> Iterator[Row]:
    from tui_tuner import demo

    rows = getattr(demo, DEMO[file.path])()
    for number, values in enumerate(rows, 1):
        yield Row(Origin(file.path, number), values)


_READERS: dict[str, Callable[[DataFile], Iterator[Row]]] = {
    "jsonl": _read_jsonl_rows,
    "json": _read_json_rows,
    "csv": _read_table_rows,
    "text": _read_text_rows,
    "parquet": lambda file: read_parquet(Path(file.path), file.name),
    "arrow": lambda file: read_arrow(Path(file.path), file.name),
    "demo": _read_demo_rows,
    "document": _make_reader(read_document),
    "class": _read_class_rows,
    "conll": _make_reader(read_conll),
    "sql": _read_sql_rows,
    "hub": lambda file: read_hub_rows(file.path, file.field),
}
