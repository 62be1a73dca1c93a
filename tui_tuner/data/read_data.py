"""Read `data.path` as records: resolve sources, recognise each file's format, convert row by row."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.schema import DataSection
from tui_tuner.data.formats import RecordFormat, find_format
from tui_tuner.data.formats.parts import media
from tui_tuner.data.formats.recognise import Detection, add_late_columns, recognise_format
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.records import Chat, Question, Record, Row, Text, list_record_texts
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.data.row_weights import (
    WEIGHTLESS,
    find_weight_column,
    hide_column,
    make_weight_column_error,
    weigh_record,
)
from tui_tuner.data.sources.files import DataFile, ResolvedSource, resolve_data_paths
from tui_tuner.errors import DataError, name_error_field
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

SAMPLE_ROWS = 200
NOTED_FILES = 20
MERGED = N_("a turn of the chat that begins above")
LONGEST_CHAT = 10_000  # rows: a chat without an end must not fill the memory
LATE_COLUMNS = 200  # more names than that are keys and not columns


@dataclass
class ReadRow:
    """One row with its record, or the problem that prevents one.

    Args:
        source: The number of its source, from 0.
        format: The record format that it was read as, and `columns` the column for each role.
        steps: What was noticed in it, for the ledger: parts that are not used, with their values.
        merged: It is part of the record of an earlier row, and has no record itself.
        order: How many rows of all sources come before it.
    """

    row: Row
    source: int
    record: Record | None = None
    problem: RowProblem | None = None
    format: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, object]] = field(default_factory=list)
    merged: bool = False
    order: int = 0

    def count_start(self, ledger: Ledger) -> Record | None:
        """Count what is known of the row so far; returns its record, or None if its outcome is counted.

        What was noticed in the row is counted as steps, and a row without a record as dropped or merged.
        """
        for name, sample in self.steps:
            ledger.count_step(name, self.row.origin, sample)
        if self.merged:
            ledger.count_row("merged", self.row.origin, MERGED)
        elif self.record is None:
            problem = self.problem or RowProblem(N_("unreadable"))
            ledger.count_row("dropped", self.row.origin, problem.reason, problem.detail)
        elif getattr(self.record, "weight", 1.0) == 0:
            # Not dropped: the user asked for it, so it counts for no limit of dropped rows.
            ledger.count_row(
                "unused", self.row.origin, WEIGHTLESS, " | ".join(list_record_texts(self.record))
            )
            return None
        return self.record


@dataclass
class FileDetection:
    """The format of one file, and of the files after it with the same columns."""

    file: str
    detection: Detection
    files: int = 1

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "files": self.files, **self.detection.to_json()}


@dataclass
class DataReading:
    """A pass over all sources. Iterate it once; `detections` and `notes` fill up meanwhile.

    Args:
        picks: If there are more rows than `data.limit`, take random rows instead of the first ones. This
            reads everything before the first row comes, so a quick look at the data goes without it.
    """

    data: DataSection
    picks: bool = False
    detections: list[FileDetection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: list[ResolvedSource] = field(default_factory=list)
    _files: int = 0
    _unused: dict[tuple[str, str], str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ReadRow]:
        with name_error_field("data.path"):
            if self.data.limit is None:
                yield from self._read_all_rows()
            else:
                yield from (self._pick_random if self.picks else self._read_first)(self.data.limit)

    def _read_first(self, limit: int) -> Iterator[ReadRow]:
        for number, read in enumerate(self._read_all_rows()):
            if number >= limit:
                self.notes.append(_("Reading ended after {limit:,} rows (data.limit).", limit=limit))
                return
            yield read

    def _pick_random(self, limit: int) -> Iterator[ReadRow]:
        """Pick `limit` random rows, each equally likely, in file order (reservoir sampling)."""
        chance = random.Random(self.data.seed)
        kept: dict[int, list[ReadRow]] = {}  # by place among the chosen: a record, and rows merged into it
        count, last = 0, -1
        for read in self._read_all_rows():
            # Rows of one chat stay together: either all of them are picked, or none.
            if read.merged:
                if last in kept:
                    kept[last].append(read)
                continue
            # Row number `count` replaces a kept one with probability limit / (count + 1).
            last = count if count < limit else chance.randint(0, count)
            if last < limit:
                kept[last] = [read]
            count += 1
        if count > limit:
            self.notes.append(
                _("{limit:,} of {count:,} rows were picked at random (data.pick).", limit=limit, count=count)
            )
        for reads in sorted(kept.values(), key=lambda reads: reads[0].order):
            yield from reads

    def _read_all_rows(self) -> Iterator[ReadRow]:
        self.sources = resolve_data_paths(self.data)
        order = itertools.count()
        for number, resolved in enumerate(self.sources):
            self.notes += [note for note in resolved.notes if note not in self.notes]
            for file in resolved.files:
                for read in self._read_file(file, number, resolved.source.format):
                    read.order = next(order)
                    yield read

    def _read_file(self, file: DataFile, source: int, wanted: str) -> Iterator[ReadRow]:
        # The sample is read first and then chained with the rest: a stream cannot be read twice.
        rows = file.iterate_rows()
        head = list(itertools.islice(rows, SAMPLE_ROWS if file.kind not in ("document", "class") else 1))
        usable = [row.values for row in head if not row.problem]
        # All rows of the sample are broken; the first good one after it decides.
        if not usable:
            for row in itertools.chain(head, rows):
                if not row.problem:
                    head, usable = [row], [row.values]
                    break
                yield ReadRow(row, source, problem=RowProblem(row.problem, _show_row(row)))
            if not usable:
                return
        try:
            detection = self._detect_format(file, usable, wanted)
        except DataError:
            for _row in rows if file.kind == "sql" and not file.field else ():
                # Reading on may raise another error: that a dump has several tables is the better message.
                pass
            raise
        self._note_encoding(file)
        known = detection.names
        beside = media.find_media_columns(known)
        format = find_format(detection.format)
        for row, others in _join_rows(itertools.chain(head, rows), format, detection.columns):
            # Joined rows have one column for their turns, whose keys are noted separately.
            late = not row.problem and not format.joins and not known.issuperset(row.values)
            if late and self._take_late(row, detection, known):
                beside = media.find_media_columns(known)
            read = ReadRow(row, source, format=format.name, columns=detection.columns)
            self._convert_row(read, format, beside)
            self._weigh_record(read, detection)
            yield read
            for other in others:
                part = ReadRow(other, source, format=format.name, columns=detection.columns, merged=True)
                self._note_unused(part, format)
                yield part

    def _take_late(self, row: Row, detection: Detection, known: set[str]) -> bool:
        """Take in new columns of a row after the sample; returns whether they are known now."""
        late = [str(name) for name, value in row.values.items() if name not in known and value is not None]
        noted = bool(late) and len(known) < 10 * LATE_COLUMNS
        if noted:
            known.update(late)
        said = add_late_columns(detection, late[: max(0, LATE_COLUMNS - len(detection.unused))])
        if said and len(self.notes) < NOTED_FILES:
            self.notes.append(_("From {origin} on, {said}.", origin=row.origin, said=", ".join(said)))
        return noted

    def _note_encoding(self, file: DataFile) -> None:
        self._files += 1
        guess = file.guess_encoding() if self._files <= NOTED_FILES else ""
        if guess:
            note = _(
                "{file} is not UTF-8 and is read as {encoding}, which is a guess. If letters look wrong, "
                "set data.encoding.",
                file=one_line(file.name),
                encoding=guess,
            )
            self.notes.append(note)

    def _detect_format(self, file: DataFile, usable: list[dict[str, Any]], wanted: str) -> Detection:
        names = {name for values in usable for name in values}
        for known in self.detections:
            # A data set of a thousand files with the same columns is recognised once.
            same = known.detection.names == names
            if same and wanted in ("auto", known.detection.format):
                known.files += 1
                return known.detection
        columns = self.data.columns
        weight = find_weight_column(usable, self.data.loss_weight)
        with name_error_field("data.columns" if columns else "data.format"):
            detection = recognise_format(hide_column(usable, weight), wanted, columns, one_line(file.name))
        detection.weight = weight
        # Only for display, so a limit does no harm.
        if len(self.detections) < 1000:
            self.detections.append(FileDetection(file.name, detection))
        return detection

    def _convert_row(self, read: ReadRow, format: RecordFormat, beside: dict[str, str]) -> None:
        """Make the record of a row, and note what it leaves out; `beside` are columns of media."""
        row, needs = read.row, ""
        if row.problem:
            read.problem = RowProblem(row.problem, _show_row(row))
            return
        try:
            record, needs = self._make_record(read, format, beside)
            for text in list_record_texts(record):
                if not text.isascii():
                    # Half of a surrogate pair cannot be written, and tokenizers fail on it.
                    text.encode()
            read.record = record
        except UnicodeEncodeError:
            read.problem = RowProblem(N_("text that is not valid Unicode"))
        except media.MediaNeeded as problem:
            read.problem, needs = problem, problem.detail
        except RowProblem as problem:
            read.problem = problem
        except RecursionError:
            read.problem = RowProblem(N_("nested too deeply"))
        self._note_unused(read, format, needs)

    def _weigh_record(self, read: ReadRow, detection: Detection) -> None:
        """Give a record the weight of its row, if the config names a column for it.

        Raises:
            DataError: the rows have no such column.
        """
        # Only such records have losses that can be weighted one by one.
        if self.data.loss_weight is None or not isinstance(read.record, Chat | Text):
            return
        joins = find_format(read.format).joins
        if joins or not detection.weight:
            raise make_weight_column_error(self.data.loss_weight, detection, read.row.origin.file, joins)
        try:
            if not weigh_record(read.record, read.row.values, detection.weight):
                column = one_line(detection.weight, 40)
                read.steps.append((N_("no value in {column}: its weight is 1", column=column), ""))
        except RowProblem as problem:
            read.record, read.problem = None, problem

    def _note_unused(self, read: ReadRow, format: RecordFormat, needs: str = "") -> None:
        """Note the columns and keys that are not used, also in dropped rows, except what a row needs."""
        values = read.row.values
        for kind, name in sorted(format.list_leftovers(values, read.columns)):
            if name not in (needs, self.data.loss_weight):
                read.steps.append((self._name_unused(kind, name), values.get(name, "")))

    def _make_record(self, read: ReadRow, format: RecordFormat, beside: dict[str, str]) -> tuple[Record, str]:
        """Make the record, without media if `data.media` says so; also returns where a need for media shows.

        Raises:
            NeedsMedia: it needs media, and `data.media` does not allow reading it without.
            RowProblem: as `RecordFormat.convert_row`.
        """
        values, columns, ignored = read.row.values, read.columns, self.data.media == "ignore"
        lacks = ""
        try:
            record = format.convert_row(values, columns)
        except media.MediaNeeded as problem:
            if not ignored:
                raise
            lacks = problem.kind
            names = values.keys() if format.joins else columns.values()
            record = format.convert_row(media.remove_media_parts(values, names), columns)
        kind, where = media.find_needed_media(record, values, beside, columns)
        if kind and not ignored:
            raise media.MediaNeeded(kind, where)
        if kind:
            lacks = lacks or kind
            media.remove_placeholders(record)
        elif media.speaks_of_media(record):
            read.steps.append((media.AS_TEXT, ""))
        if lacks:
            read.steps.append((media.WITHOUT[lacks], where))
        # Corrections of answers are not problems, but the ledger shows them.
        if isinstance(record, Question):
            read.steps += [(remark, record.answers[0][0]) for remark in record.remarks]
        return record, where

    def _name_unused(self, kind: str, name: str) -> str:
        """Return the ledger's line for a column, or a key of a turn, that is not used."""
        known = self._unused.get((kind, name))
        if known is None:
            shown = one_line(name, 40)
            # Rows with keys such as ids would otherwise make a line of the ledger for each of them.
            if len(self._unused) >= LATE_COLUMNS:
                return N_("more columns and keys are not used")
            # A file without column names has columns that are already called "column 1" and so on.
            if kind == "column" and shown.startswith("column "):
                known = N_("{name} is not used", name=shown)
            elif kind == "column":
                known = N_("column {name} is not used", name=shown)
            else:
                known = N_("key {name} of a turn is not used", name=shown)
            self._unused[kind, name] = known
        return known


def _join_rows(
    rows: Iterable[Row], format: RecordFormat, columns: dict[str, str]
) -> Iterator[tuple[Row, list[Row]]]:
    """Yield each row with the rows merged into it, where a format joins several."""
    chat: list[Row] = []
    for row in rows if format.joins else ():
        goes_on = chat and not row.problem and format.continues_record(chat[-1].values, row.values, columns)
        if chat and not (goes_on and len(chat) < LONGEST_CHAT):
            yield _join_chat(chat, format, columns)
            chat = []
        if row.problem:
            yield row, []
        else:
            chat.append(row)
    if chat:
        yield _join_chat(chat, format, columns)
    for row in () if format.joins else rows:
        yield row, []


def _join_chat(rows: list[Row], format: RecordFormat, columns: dict[str, str]) -> tuple[Row, list[Row]]:
    return Row(rows[0].origin, format.join_rows([row.values for row in rows], columns)), rows[1:]


def _show_row(row: Row) -> str:
    return str(row.values.get("", row.values))[:200]
