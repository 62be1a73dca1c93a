"""One batch of rows at a time: cleaned, encoded, counted and stored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tui_tuner.data.cleaning.cleaner import Cleaner
from tui_tuner.data.example import Example
from tui_tuner.data.examples.encoder import Encoder, Encodings, Facts
from tui_tuner.data.examples.fitting import Fitted
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.reading import Read
from tui_tuner.data.records import Labelled, Origin, Record, texts_of
from tui_tuner.errors import ModelError
from tui_tuner.text import one_line


class Writer(Protocol):
    """Where encoded rows go: `store.StoreWriter`, or memory."""

    def add(
        self,
        origin: Origin,
        source: int,
        examples: Sequence[Example],
        record: Any,
        content: int,
        stratum: int = 0,
    ) -> None: ...


@dataclass
class CleanRow:
    """A row that cleaning kept."""

    origin: Origin
    source: int
    record: Record
    changed: bool


class RowEncoder:
    """Takes batches of rows through cleaning and a task's encoder to the store; each ends in the ledger."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.cleaner = Cleaner(encoder.config.data.cleaning)
        self.facts = Facts()
        if len(encoder.tokenizer) == 0:
            raise ModelError("the tokenizer has no vocabulary.")

    def add(self, batch: list[Read], writer: Writer, ledger: Ledger) -> None:
        """Take a batch all the way to the store.

        Raises:
            DataError: records of a kind that the task cannot use.
        """
        rows = self.clean(batch, ledger)
        self.store(rows, self.encoder.encode([row.record for row in rows]), writer, ledger)

    def clean(self, batch: list[Read], ledger: Ledger) -> list[CleanRow]:
        """The rows of a batch that cleaning keeps; the others are counted.

        Raises:
            DataError: records of a kind that the task cannot use.
        """
        rows = []
        for read in batch:
            if read.record is None:
                problem = read.problem or RowProblem("unreadable")
                ledger.count("dropped", read.row.origin, problem.reason, problem.detail)
                continue
            self.encoder.check_kind(read, read.record)
            cleaned = self.cleaner.clean(read.record, read.row.origin, ledger)
            if cleaned is not None:
                rows.append(CleanRow(read.row.origin, read.source, cleaned.record, cleaned.changed))
        return rows

    def store(self, rows: list[CleanRow], found: Encodings, writer: Writer, ledger: Ledger) -> None:
        """Write the examples of each row, or count why there are none."""
        for row, fitted in zip(rows, found, strict=True):
            if isinstance(fitted, RowProblem):
                ledger.count("dropped", row.origin, fitted.reason, fitted.detail or _shown(row.record))
            else:
                self._store(row, fitted, writer, ledger)

    def _store(self, row: CleanRow, fitted: Fitted, writer: Writer, ledger: Ledger) -> None:
        self.encoder.note_row(row.record, fitted, row.origin, self.facts)
        outcome, reason, record = fitted.outcome, fitted.reason, row.record
        if outcome == "kept" and row.changed:
            outcome, reason = "changed", "changed by cleaning"
        writer.add(row.origin, row.source, fitted.examples, record, content_hash(record), stratum(record))
        ledger.count(outcome, row.origin, reason, _shown(record) if reason else "", len(fitted.examples))


def content_hash(record: Record) -> int:
    """64 bits over the texts of a record, for keeping equal rows on one side of a split."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts_of(record):
        digest.update(text.strip().encode("utf-8", "replace"))
        digest.update(b"\x00")
    return int.from_bytes(digest.digest(), "little")


def stratum(record: Record) -> int:
    """64 bits of a record's label, so that each label is split alike; 0 where it has none."""
    if not isinstance(record, Labelled) or record.label is None:
        return 0
    return int.from_bytes(hashlib.blake2b(str(record.label).encode(), digest_size=8).digest(), "little") | 1


def _shown(record: Record) -> str:
    return one_line(" | ".join(texts_of(record)), 160)


__all__ = ["CleanRow", "RowEncoder", "Writer", "content_hash", "stratum"]
