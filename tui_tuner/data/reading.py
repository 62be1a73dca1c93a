"""From `data.path` to records: resolves sources, recognises each file's format, converts row by row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.schema import DataSection
from tui_tuner.data.formats import Format, find_format
from tui_tuner.data.formats.recognise import Detection, recognise, take_late
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Record, Row, texts_of
from tui_tuner.data.sources.files import DataFile, Resolved, resolve
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

SAMPLE_ROWS = 200
NOTED_FILES = 20
LATE_COLUMNS = 200  # more names than that are keys of something, not columns


@dataclass
class Read:
    """One row: its record, or the problem that keeps it from being one. `source` counts from 0."""

    row: Row
    source: int
    record: Record | None = None
    problem: RowProblem | None = None


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
    """A pass over all sources. Iterate it once; `detections` and `notes` fill while it goes."""

    data: DataSection
    detections: list[FileDetection] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: list[Resolved] = field(default_factory=list)
    _files: int = 0

    def __iter__(self) -> Iterator[Read]:
        self.sources = resolve(self.data)
        counts = itertools.count()
        for number, resolved in enumerate(self.sources):
            self.notes += [note for note in resolved.notes if note not in self.notes]
            for file in resolved.files:
                for read in self._file(file, number, resolved.source.format):
                    if self.data.limit is not None and next(counts) >= self.data.limit:
                        self.notes.append(
                            _("Reading ended after {limit:,} rows (data.limit).", limit=self.data.limit)
                        )
                        return
                    yield read

    def _file(self, file: DataFile, source: int, wanted: str) -> Iterator[Read]:
        rows = file.rows()
        head = list(itertools.islice(rows, SAMPLE_ROWS if file.kind != "document" else 1))
        usable = [row.values for row in head if not row.problem]
        if not usable:
            for row in itertools.chain(head, rows):
                if not row.problem:
                    head, usable = [row], [row.values]
                    break
                yield Read(row, source, problem=RowProblem(row.problem, _shown(row)))
            if not usable:
                return
        detection = self._detect(file, usable, wanted)
        self._note_encoding(file)
        known = {*detection.columns.values(), *detection.unused}
        format = find_format(detection.format)
        for row in itertools.chain(head, rows):
            if not row.problem and not known.issuperset(row.values):
                self._take_late(row, detection, known)
            yield _converted(row, source, format, detection.columns)

    def _take_late(self, row: Row, detection: Detection, known: set[str]) -> None:
        """A row after the sample has columns of its own: say what they are."""
        late = [str(name) for name, value in row.values.items() if name not in known and value is not None]
        if len(known) < 10 * LATE_COLUMNS:
            known.update(late)
        said = take_late(detection, late[: max(0, LATE_COLUMNS - len(detection.unused))])
        if said and len(self.notes) < NOTED_FILES:
            self.notes.append(_("From {origin} on, {said}.", origin=row.origin, said=", ".join(said)))

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
        detection = recognise(usable, wanted, columns, one_line(file.name))
        if len(self.detections) < 1000:
            self.detections.append(FileDetection(file.name, detection))
        return detection


def _converted(row: Row, source: int, format: Format, columns: dict[str, str]) -> Read:
    if row.problem:
        return Read(row, source, problem=RowProblem(row.problem, _shown(row)))
    try:
        record = format.convert(row.values, columns)
        for text in texts_of(record):
            if not text.isascii():
                text.encode()
        return Read(row, source, record)
    except UnicodeEncodeError:
        return Read(row, source, problem=RowProblem(N_("text that is not valid Unicode")))
    except RowProblem as problem:
        return Read(row, source, problem=problem)
    except RecursionError:
        return Read(row, source, problem=RowProblem(N_("nested too deeply")))


def _shown(row: Row) -> str:
    return str(row.values.get("", row.values))[:200]
