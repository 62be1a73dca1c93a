"""From `data.path` to records: resolves sources, recognises each file's format, converts row by row."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.schema import DataSection
from tui_tuner.data.formats import Format, find_format
from tui_tuner.data.formats.parts import media
from tui_tuner.data.formats.recognise import Detection, recognise, take_late
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Question, Record, Row, texts_of
from tui_tuner.data.sources.files import DataFile, Resolved, resolve
from tui_tuner.errors import DataError, about
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

SAMPLE_ROWS = 200
NOTED_FILES = 20
MERGED = N_("a turn of the chat that begins above")
LONGEST_CHAT = 10_000  # rows: a file without an end to its chat must not fill the memory
LATE_COLUMNS = 200  # more names than that are keys of something, not columns


@dataclass
class Read:
    """One row: its record, or the problem that keeps it from being one.

    Args:
        source: Which of the sources it is from; counts from 0.
        format: The record format it was read as, and `columns` the column for each role.
        steps: What was noticed in it, for the ledger: what it holds that is not used, with its value.
        merged: It is part of the record of a row before it, and has none of its own.
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

    def begun(self, ledger: Ledger) -> Record | None:
        """The record of a row whose way through the ledger begins; None if it has ended there.

        What was noticed in the row is counted as steps; a row that is none is counted as dropped.
        """
        for name, sample in self.steps:
            ledger.step(name, self.row.origin, sample)
        if self.merged:
            ledger.count("merged", self.row.origin, MERGED)
        elif self.record is None:
            problem = self.problem or RowProblem(N_("unreadable"))
            ledger.count("dropped", self.row.origin, problem.reason, problem.detail)
        return self.record


@dataclass
class FileDetection:
    """The format of one file (and of those after it with the same columns)."""

    file: str
    detection: Detection
    files: int = 1

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "files": self.files, **self.detection.to_json()}


@dataclass
class Reading:
    """A pass over all sources. Iterate it once; `detections` and `notes` fill while it goes.

    Args:
        picks: Where `data.limit` is less than there is, rows from anywhere are taken, and not the first.
            Everything is read before the first row comes, so a glance at the data does without.
    """

    data: DataSection
    picks: bool = False
    detections: list[FileDetection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: list[Resolved] = field(default_factory=list)
    _files: int = 0
    _unused: dict[tuple[str, str], str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Read]:
        with about("data.path"):
            if self.data.limit is None:
                yield from self._rows()
            else:
                yield from (self._picked if self.picks else self._first)(self.data.limit)

    def _first(self, limit: int) -> Iterator[Read]:
        for number, read in enumerate(self._rows()):
            if number >= limit:
                self.notes.append(_("Reading ended after {limit:,} rows (data.limit).", limit=limit))
                return
            yield read

    def _picked(self, limit: int) -> Iterator[Read]:
        """So many rows, each as likely as any other, in the order in which they stand: reservoir sampling."""
        chance = random.Random(self.data.seed)
        kept: dict[int, list[Read]] = {}  # by place among the chosen: a record, and rows merged into it
        count, last = 0, -1
        for read in self._rows():
            if read.merged:
                if last in kept:
                    kept[last].append(read)
                continue
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

    def _rows(self) -> Iterator[Read]:
        self.sources = resolve(self.data)
        order = itertools.count()
        for number, resolved in enumerate(self.sources):
            self.notes += [note for note in resolved.notes if note not in self.notes]
            for file in resolved.files:
                for read in self._file(file, number, resolved.source.format):
                    read.order = next(order)
                    yield read

    def _file(self, file: DataFile, source: int, wanted: str) -> Iterator[Read]:
        rows = file.rows()
        head = list(itertools.islice(rows, SAMPLE_ROWS if file.kind not in ("document", "class") else 1))
        usable = [row.values for row in head if not row.problem]
        if not usable:
            for row in itertools.chain(head, rows):
                if not row.problem:
                    head, usable = [row], [row.values]
                    break
                yield Read(row, source, problem=RowProblem(row.problem, _shown(row)))
            if not usable:
                return
        try:
            detection = self._detect(file, usable, wanted)
        except DataError:
            for _row in rows if file.kind == "sql" and not file.field else ():
                pass  # that a dump holds several tables comes before what the first of them looks like
            raise
        self._note_encoding(file)
        known = {*detection.columns.values(), *detection.unused}
        beside = media.media_columns(known)
        format = find_format(detection.format)
        for row, others in _joined(itertools.chain(head, rows), format, detection.columns):
            late = not row.problem and not format.joins and not known.issuperset(row.values)
            if late and self._take_late(row, detection, known):
                beside = media.media_columns(known)
            read = Read(row, source, format=format.name, columns=detection.columns)
            self._convert(read, format, beside)
            yield read
            for other in others:
                part = Read(other, source, format=format.name, columns=detection.columns, merged=True)
                self._note_unused(part, format)
                yield part

    def _take_late(self, row: Row, detection: Detection, known: set[str]) -> bool:
        """A row after the sample has columns of its own: say what they are. Whether they are known now."""
        late = [str(name) for name, value in row.values.items() if name not in known and value is not None]
        noted = bool(late) and len(known) < 10 * LATE_COLUMNS
        if noted:
            known.update(late)
        said = take_late(detection, late[: max(0, LATE_COLUMNS - len(detection.unused))])
        if said and len(self.notes) < NOTED_FILES:
            self.notes.append(_("From {origin} on, {said}.", origin=row.origin, said=", ".join(said)))
        return noted

    def _note_encoding(self, file: DataFile) -> None:
        self._files += 1
        guess = file.guessed_encoding() if self._files <= NOTED_FILES else ""
        if guess:
            note = _(
                "{file} is not UTF-8: read as {encoding}, a guess. If letters look wrong, "
                "say so in data.encoding.",
                file=one_line(file.name),
                encoding=guess,
            )
            self.notes.append(note)

    def _detect(self, file: DataFile, usable: list[dict[str, Any]], wanted: str) -> Detection:
        names = {name for values in usable for name in values}
        for known in self.detections:
            same = {*known.detection.columns.values(), *known.detection.unused} == names
            if same and wanted in ("auto", known.detection.format):
                known.files += 1
                return known.detection
        columns = self.data.columns
        with about("data.columns" if columns else "data.format"):
            detection = recognise(usable, wanted, columns, one_line(file.name))
        if len(self.detections) < 1000:
            self.detections.append(FileDetection(file.name, detection))
        return detection

    def _convert(self, read: Read, format: Format, beside: dict[str, str]) -> None:
        """Make the record of a row, and note what of the row is not in it; `beside` are columns of media."""
        row, needs = read.row, ""
        if row.problem:
            read.problem = RowProblem(row.problem, _shown(row))
            return
        try:
            record, needs = self._record(read, format, beside)
            for text in texts_of(record):
                if not text.isascii():
                    text.encode()
            read.record = record
        except UnicodeEncodeError:
            read.problem = RowProblem(N_("text that is not valid Unicode"))
        except media.NeedsMedia as problem:
            read.problem, needs = problem, problem.detail
        except RowProblem as problem:
            read.problem = problem
        except RecursionError:
            read.problem = RowProblem(N_("nested too deeply"))
        self._note_unused(read, format, needs)

    def _note_unused(self, read: Read, format: Format, needs: str = "") -> None:
        """Note what nothing is made of, in rows that are dropped too, but for what a row is said to need."""
        values = read.row.values
        for kind, name in sorted(format.leftovers(values, read.columns)):
            if name != needs:
                read.steps.append((self._not_used(kind, name), values.get(name, "")))

    def _record(self, read: Read, format: Format, beside: dict[str, str]) -> tuple[Record, str]:
        """The record, with what it needs beside its text left out (`data.media`), and where that shows.

        Raises:
            NeedsMedia: it is not to be read without.
            RowProblem: as `Format.convert`.
        """
        values, columns, ignored = read.row.values, read.columns, self.data.media == "ignore"
        lacks = ""
        try:
            record = format.convert(values, columns)
        except media.NeedsMedia as problem:
            if not ignored:
                raise
            lacks = problem.kind
            names = values.keys() if format.joins else columns.values()
            record = format.convert(media.without_parts(values, names), columns)
        kind, where = media.needed(record, values, beside, columns)
        if kind and not ignored:
            raise media.NeedsMedia(kind, where)
        if kind:
            lacks = lacks or kind
            media.without_places(record)
        elif media.speaks_of_media(record):
            read.steps.append((media.AS_TEXT, ""))
        if lacks:
            read.steps.append((media.WITHOUT[lacks], where))
        if isinstance(record, Question):
            read.steps += [(remark, record.answers[0][0]) for remark in record.remarks]
        return record, where

    def _not_used(self, kind: str, name: str) -> str:
        """The ledger's line for a column, or a key of a turn, that nothing is made of."""
        known = self._unused.get((kind, name))
        if known is None:
            shown = one_line(name, 40)
            if len(self._unused) >= LATE_COLUMNS:
                return N_("more columns and keys are not used")
            if kind == "column" and shown.startswith("column "):  # of a file that names none
                known = N_("{name} is not used", name=shown)
            elif kind == "column":
                known = N_("column {name} is not used", name=shown)
            else:
                known = N_("key {name} of a turn is not used", name=shown)
            self._unused[kind, name] = known
        return known


def _joined(rows: Iterable[Row], format: Format, columns: dict[str, str]) -> Iterator[tuple[Row, list[Row]]]:
    """Each row of a record, and the rows that are part of it, where a format joins several."""
    chat: list[Row] = []
    for row in rows if format.joins else ():
        goes_on = chat and not row.problem and format.goes_on(chat[-1].values, row.values, columns)
        if chat and not (goes_on and len(chat) < LONGEST_CHAT):
            yield _chat(chat, format, columns)
            chat = []
        if row.problem:
            yield row, []
        else:
            chat.append(row)
    if chat:
        yield _chat(chat, format, columns)
    for row in () if format.joins else rows:
        yield row, []


def _chat(rows: list[Row], format: Format, columns: dict[str, str]) -> tuple[Row, list[Row]]:
    return Row(rows[0].origin, format.join([row.values for row in rows], columns)), rows[1:]


def _shown(row: Row) -> str:
    return str(row.values.get("", row.values))[:200]
