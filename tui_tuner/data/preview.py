"""What a person sees of the data before a run: first rows, a full inspection, and one row's mask."""

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
from tui_tuner.data.reading import Read, Reading
from tui_tuner.data.records import Labelled, Record, answers_of, texts_of
from tui_tuner.data.sources.files import resolve
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

_EDGES = (0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


@dataclass
class PreviewRow:
    """One row as it stands in the file and as it was understood; `problem` if it was not."""

    origin: str
    values: dict[str, Any]
    record: dict[str, Any] | None
    problem: str = ""


@dataclass
class Preview:
    """The first rows. `detections` name the format of each file seen so far, `notes` what was left out."""

    rows: list[PreviewRow]
    detections: list[dict[str, Any]]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Lengths:
    """A histogram of lengths with fixed edges, kept while rows stream by; mean and longest are exact."""

    unit: str
    count: int = 0
    total: int = 0
    longest: int = 0
    bins: list[int] = field(default_factory=lambda: [0] * len(_EDGES))

    def add(self, length: int) -> None:
        self.count += 1
        self.total += length
        self.longest = max(self.longest, length)
        self.bins[bisect.bisect_right(_EDGES, length) - 1] += 1

    def to_json(self) -> dict[str, Any]:
        mean = round(self.total / self.count, 1) if self.count else 0
        bars = [
            {"from": low, "to": high, "rows": rows}
            for low, high, rows in zip(_EDGES, (*_EDGES[1:], None), self.bins, strict=True)
        ]
        while bars and not bars[-1]["rows"]:
            bars.pop()
        return {"unit": self.unit, "mean": mean, "longest": self.longest, "histogram": bars}


@dataclass
class Inspection:
    """All rows read once: formats, ledger, lengths in characters, labels. No tokens: that takes a model."""

    path: str
    ledger: Ledger
    detections: list[dict[str, Any]]
    notes: list[str]
    lengths: Lengths
    answer_lengths: Lengths
    labels: dict[str, int]
    seconds: float
    refusal: DataError | None = None  # why the first row is of no use, where it was asked what can be used

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "rows": self.ledger.read,
            "detections": self.detections,
            "ledger": self.ledger.to_json(),
            "lengths": self.lengths.to_json(),
            "answers": self.answer_lengths.to_json() if self.answer_lengths.count else None,
            "labels": self.labels,
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class MaskToken:
    """A token as the model sees it. `piece` counts from 0 where a row became several sequences."""

    id: int
    text: str
    trained: bool
    special: bool
    piece: int = 0


@dataclass
class MaskView:
    """One row's tokens with the loss mask; `outcome` and `reason` are its line in the ledger."""

    tokens: list[MaskToken]
    origin: str
    outcome: str
    reason: str
    notes: list[str]
    format: str = ""  # the note about the record format, which some have said already
    teaches: list[str] = field(default_factory=list)  # in words, where the tokens alone do not say it

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


def first_rows(data: DataSection, count: int = 20) -> Preview:
    """The first rows of the data, reading no more than needed.

    Raises:
        DataError: the data cannot be read or understood.
    """
    reading = Reading(data)
    rows = [_shown(read) for read in itertools.islice(reading, count)]
    if not rows:
        raise DataError(
            _("holds no rows."), where=one_line(data.path), hint=_("Check data.path."), field="data.path"
        )
    return Preview(rows, [item.to_json() for item in reading.detections], reading.notes)


def raw_rows(data: DataSection, count: int = 100) -> list[dict[str, Any]]:
    """The first rows as they stand in the file, whatever their format: those that are not broken.

    Raises:
        DataError: the data cannot be read.
    """
    files = (file for resolved in resolve(data) for file in resolved.files)
    rows = (row for file in files for row in file.rows() if not row.problem)
    return [row.values for row in itertools.islice(rows, count)]


def _shown(read: Read) -> PreviewRow:
    record = asdict(read.record) if read.record is not None else None
    return PreviewRow(
        str(read.row.origin), read.row.values, record, str(read.problem) if read.problem else ""
    )


def inspect(
    data: DataSection,
    progress: Callable[[int, Ledger], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    check: Callable[[Read, Record], None] | None = None,
    each: Callable[[Read, str, str], None] | None = None,
) -> Inspection:
    """Read everything once, clean as the section says, and count. Memory stays flat at any file size.

    Stops early, with what was counted so far, when `cancelled` says so.

    Args:
        check: Raises `DataError` for a row that cannot be used, which is then counted as dropped.
        each: Called with every row, its outcome in the ledger, and the reason where it was dropped.

    Raises:
        DataError: the data cannot be read or understood.
    """
    started = last = time.monotonic()
    reading, ledger, cleaner = Reading(data), Ledger(), Cleaner(data.cleaning)
    lengths, answers = Lengths("characters"), Lengths("characters")
    labels: Counter[str] = Counter()
    refusal: DataError | None = None
    for read in reading:
        why = ""
        try:
            record = _counted(read, cleaner, ledger, check)
        except DataError as error:
            refusal, record, why = refusal or error, None, error.what
            ledger.count("dropped", read.row.origin, N_("rows that this task cannot use"))
        if each is not None:
            each(read, ledger.last, why)
        if record is not None:
            lengths.add(sum(map(len, texts_of(record))))
            for answer in answers_of(record):
                answers.add(len(answer))
            if isinstance(record, Labelled) and (len(labels) < 1000 or str(record.label) in labels):
                labels[str(record.label)] += 1
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


def _counted(
    read: Read, cleaner: Cleaner, ledger: Ledger, check: Callable[[Read, Record], None] | None
) -> Record | None:
    """A row's record after cleaning, counted; None if it was dropped."""
    origin = read.row.origin
    record = read.begun(ledger)
    if record is None:
        return None
    if check is not None:
        check(read, record)
    cleaned = cleaner.clean(record, origin, ledger)
    if cleaned is None:
        return None
    if cleaned.changed:
        ledger.count("changed", origin, N_("changed by cleaning"), texts_of(cleaned.record)[0], 1)
    else:
        ledger.count("kept", origin, pieces=1)
    return cleaned.record


__all__ = [
    "Inspection",
    "MaskToken",
    "MaskView",
    "Preview",
    "first_rows",
    "inspect",
    "raw_rows",
]
