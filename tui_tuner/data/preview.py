"""Show data before a run: its first rows, a full inspection, and the mask of one row."""

from __future__ import annotations

import bisect
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from tui_tuner.config.schema import DataSection
from tui_tuner.data.cleaning.cleaner import Cleaner
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.read_data import DataReading, ReadRow
from tui_tuner.data.records import LabelledText, Record, list_record_answers, list_record_texts
from tui_tuner.data.sources.files import resolve_data_paths
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_EDGES = (0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


@dataclass
class PreviewRow:
    """One row as it is in the file, with its record, or a `problem` if it has none."""

    origin: str
    values: dict[str, Any]
    record: dict[str, Any] | None
    problem: str = ""


@dataclass
class Preview:
    """The first rows. `detections` give the format of each file read so far, `notes` what was left out."""

    rows: list[PreviewRow]
    detections: list[dict[str, Any]]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class LengthHistogram:
    """A histogram of lengths with fixed edges, filled row by row; mean and longest are exact."""

    unit: str
    count: int = 0
    total: int = 0
    longest: int = 0
    bins: list[int] = field(default_factory=lambda: [0] * len(_EDGES))

    def add_length(self, length: int) -> None:
        self.count += 1
        self.total += length
        self.longest = max(self.longest, length)
        self.bins[bisect.bisect_right(_EDGES, length) - 1] += 1

    def describe_lengths(self) -> dict[str, Any]:
        mean = round(self.total / self.count, 1) if self.count else 0
        bars = [
            {"from": low, "to": high, "rows": rows}
            for low, high, rows in zip(_EDGES, (*_EDGES[1:], None), self.bins, strict=True)
        ]
        # Edges go up to 65,536 characters, which most data never reaches.
        while bars and not bars[-1]["rows"]:
            bars.pop()
        return {"unit": self.unit, "mean": mean, "longest": self.longest, "histogram": bars}


@dataclass
class Inspection:
    """The result of reading all rows: formats, ledger, labels, and lengths in characters."""

    path: str
    ledger: Ledger
    detections: list[dict[str, Any]]
    notes: list[str]
    lengths: LengthHistogram
    answer_lengths: LengthHistogram
    labels: dict[str, int]
    seconds: float
    refusal: DataError | None = None  # why the first unusable row is so, if a `check` was given

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "rows": self.ledger.read,
            "detections": self.detections,
            "ledger": self.ledger.to_json(),
            "lengths": self.lengths.describe_lengths(),
            "answers": self.answer_lengths.describe_lengths() if self.answer_lengths.count else None,
            "labels": self.labels,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class MaskToken:
    """A token as the model sees it.

    Args:
        piece: Counts the sequences of a row from 0.
        weight: What its loss counts, if it is trained.
        wanted: The text of the token that the model has to guess in its place; empty if it is not hidden.
    """

    id: int
    text: str
    trained: bool
    special: bool
    piece: int = 0
    weight: float = 1.0
    wanted: str = ""

    @property
    def shown(self) -> str:
        """Return its text, with the token to guess after an arrow."""
        return f"{self.text}→{self.wanted}" if self.wanted else self.text


@dataclass
class MaskView:
    """The tokens of one row with the loss mask; `outcome` and `reason` are its line in the ledger."""

    tokens: list[MaskToken]
    origin: str
    outcome: str
    reason: str
    notes: list[str]
    format: str = ""  # the note about the record format, apart because some views show it elsewhere
    teaches: list[str] = field(default_factory=list)  # sentences, if the tokens alone do not show it

    @property
    def all_notes(self) -> list[str]:
        return [*self.notes, self.format] if self.format else self.notes

    def to_json(self) -> dict[str, Any]:
        trained = sum(token.trained for token in self.tokens)
        return {
            "tokens": [asdict(token) for token in self.tokens],
            "origin": self.origin,
            "outcome": self.outcome,
            "reason": self.reason,
            "teaches": self.teaches,
            "length": len(self.tokens),
            "pieces": 1 + max((token.piece for token in self.tokens), default=0),
            "trained": trained,
            "supervised_share": round(trained / len(self.tokens), 4) if self.tokens else 0.0,
            "notes": self.all_notes,
        }


def read_first_rows(data: DataSection, count: int = 20) -> Preview:
    """Read the first rows of the data, and no more than needed.

    Raises:
        DataError: the data cannot be read or understood.
    """
    reading = DataReading(data)
    rows = [_preview_row(read) for read in itertools.islice(reading, count)]
    if not rows:
        raise DataError(
            _("holds no rows."), where=one_line(data.path), hint=_("Check data.path."), field="data.path"
        )
    return Preview(rows, [item.to_json() for item in reading.detections], reading.notes)


def read_raw_rows(data: DataSection, count: int = 100) -> list[dict[str, Any]]:
    """Read the first rows that are not broken, as they are in the file, whatever their format.

    Raises:
        DataError: the data cannot be read.
    """
    files = (file for resolved in resolve_data_paths(data) for file in resolved.files)
    # Formats are not recognised here: this is what the user sees when that has failed.
    rows = (row for file in files for row in file.iterate_rows() if not row.problem)
    return [row.values for row in itertools.islice(rows, count)]


def _preview_row(read: ReadRow) -> PreviewRow:
    record = asdict(read.record) if read.record is not None else None
    return PreviewRow(
        str(read.row.origin), read.row.values, record, str(read.problem) if read.problem else ""
    )


def inspect_data(
    data: DataSection,
    progress: Callable[[int, Ledger], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    check: Callable[[ReadRow, Record], None] | None = None,
    each: Callable[[ReadRow, str, str], None] | None = None,
) -> Inspection:
    """Read, clean and count all rows. Memory use does not grow with the size of the files.

    Stops early, with the counts so far, when `cancelled` returns True.

    Args:
        check: Raises `DataError` for a row that cannot be used, which is then counted as dropped.
        each: Called with every row, its outcome in the ledger, and the reason if it was dropped.

    Raises:
        DataError: the data cannot be read or understood.
    """
    started = last = time.monotonic()
    reading, ledger, cleaner = DataReading(data), Ledger(), Cleaner(data.cleaning)
    lengths, answers = LengthHistogram("characters"), LengthHistogram("characters")
    labels: Counter[str] = Counter()
    refusal: DataError | None = None
    for read in reading:
        why = ""
        try:
            record = _clean_and_count(read, cleaner, ledger, check)
        # The first refusal explains the data set; the row is counted, and reading continues to count all of
        # them.
        except DataError as error:
            refusal, record, why = refusal or error, None, error.what
            ledger.count_row("dropped", read.row.origin, N_("rows that this task cannot use"))
        if each is not None:
            each(read, ledger.last, why)
        if record is not None:
            # In characters: tokens would need a tokenizer, and the user may not have chosen a model yet.
            lengths.add_length(sum(map(len, list_record_texts(record))))
            for answer in list_record_answers(record):
                answers.add_length(len(answer))
            # Labels of a regression may all differ: counting each would fill the memory.
            if isinstance(record, LabelledText) and (len(labels) < 1000 or str(record.label) in labels):
                labels[str(record.label)] += 1
        # Reading the clock for each row would take longer than counting it.
        if ledger.read % 256 == 0 and time.monotonic() - last > 0.5:
            last = time.monotonic()
            if progress:
                progress(ledger.read, ledger)
            if cancelled and cancelled():
                reading.notes.append(_("Stopped after {read:,} rows, as asked.", read=ledger.read))
                break
    if not ledger.read:
        raise DataError(
            _("holds no rows."), where=one_line(data.path), hint=_("Check data.path."), field="data.path"
        )
    return Inspection(
        path=one_line(data.path),
        ledger=ledger,
        detections=[item.to_json() for item in reading.detections],
        notes=reading.notes,
        lengths=lengths,
        answer_lengths=answers,
        labels=dict(labels.most_common(50)),
        seconds=time.monotonic() - started,
        refusal=refusal,
    )


def _clean_and_count(
    read: ReadRow, cleaner: Cleaner, ledger: Ledger, check: Callable[[ReadRow, Record], None] | None
) -> Record | None:
    """Clean and count a row; returns its record, or None if it was dropped."""
    origin = read.row.origin
    record = read.count_start(ledger)
    if record is None:
        return None
    if check is not None:
        check(read, record)
    cleaned = cleaner.clean_record(record, origin, ledger)
    if cleaned is None:
        return None
    if cleaned.changed:
        ledger.count_row(
            "changed", origin, N_("changed by cleaning"), list_record_texts(cleaned.record)[0], 1
        )
    else:
        ledger.count_row("kept", origin, pieces=1)
    return cleaned.record


__all__ = [
    "Inspection",
    "MaskToken",
    "MaskView",
    "Preview",
    "inspect_data",
    "read_first_rows",
    "read_raw_rows",
]
