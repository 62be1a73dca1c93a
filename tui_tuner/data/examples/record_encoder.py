"""Encode the rows of a task: which it takes, how a record becomes examples, what preflight notes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tui_tuner.config.advice import build_hint, join_hints, write_setting
from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.schema import RunConfig, Source
from tui_tuner.data.cleaning.cleaner import Cleaner
from tui_tuner.data.examples.fitting import FittedRow
from tui_tuner.data.formats import find_format
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.read_data import ReadRow
from tui_tuner.data.records import Example, LabelledText, Origin, Record, list_record_texts
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import DataError, ModelError, RowsError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

SAMPLES = 5
Encodings = list[FittedRow | RowProblem]

# The names of records where a task cannot use them
_FORMAT_OF_RECORD = {
    "chat": "messages",
    "text": "text",
    "preference": "preference",
    "judged": "kto",
    "labelled": "text_label",
    "tagged": "token_tags",
    "question": "qa",
}
_ROWS = {
    "chat": TASKS["sft"].rows,
    "labelled": TASKS["classification"].rows,
    "tagged": TASKS["token_classification"].rows,
    "question": TASKS["question_answering"].rows,
}
# The task that takes such records as they are. Each format knows how else its rows can be read
# (`RecordFormat.suggest_other_way`)
_HINTS = {
    "chat": N_("Fine-tune on chats with {command}.", command=write_setting({"task": "sft"})),
    "text": N_("Learn plain text with {command}.", command=write_setting({"task": "pretraining"})),
    "labelled": N_("Learn the classes with {command}.", command=write_setting({"task": "classification"})),
    "tagged": N_("Learn the tags with {command}.", command=write_setting({"task": "token_classification"})),
    "question": N_(
        "Learn to find answers inside their texts with {command}.",
        command=write_setting({"task": "question_answering"}),
    ),
}


@dataclass
class RowFacts:
    """Facts about all rows for preflight: counts, and the first few rows of each kind of remark."""

    counts: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)

    def add_count(self, what: str, count: int) -> None:
        """Count things without a row."""
        self.counts[what] = self.counts.get(what, 0) + count

    def note_origin(self, what: str, origin: object) -> None:
        """Count a row, and keep its place if it is one of the first."""
        self.add_count(what, 1)
        samples = self.samples.setdefault(what, [])
        if len(samples) < SAMPLES:
            samples.append(str(origin))

    def get_count(self, what: str) -> int:
        return self.counts.get(what, 0)

    def noted_rows(self, what: str) -> list[str]:
        """Return the places of the first few rows that were noted."""
        return self.samples.get(what, [])


@dataclass
class EncodingBatch:
    """A batch of records on its way to examples; a task's encoder may add what it needs on the way."""

    records: list[Record]


class RecordEncoder:
    """Turns records into examples. A task subclasses it.

    Implement `encode_record`. A task whose tokenizer work can run in another thread overrides
    `begin_batch`, `tokenise_batch` and `finish_batch` instead, the three thirds of `encode_batch`.

    Attributes:
        takes: Kinds of records that it takes in any case.
        takes_if_told: Kinds that it takes only if the config gives the format or the columns of the rows.
        notes: Remarks on this tokenizer for the user.
    """

    takes: tuple[type[Record], ...] = ()
    takes_if_told: tuple[type[Record], ...] = ()

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.notes: list[str] = []

    def encode_record(self, record: Any) -> FittedRow:
        """Encode one record as examples of at most `data.max_length` tokens, and report what that took.

        Raises:
            RowProblem: it cannot be trained on; the reason goes to the ledger.
        """
        raise NotImplementedError

    # ---- a batch, in three thirds -------------------------------------------------------------------------

    def encode_batch(self, records: list[Record]) -> Encodings:
        """Encode each record; one that cannot be trained on is replaced by its problem."""
        begun = self.begin_batch(records)
        self.tokenise_batch(begun)
        return self.finish_batch(begun)

    def begin_batch(self, records: list[Record]) -> EncodingBatch:
        """Prepare a batch for the tokenizer: the first third."""
        return EncodingBatch(records)

    def tokenise_batch(self, begun: EncodingBatch) -> None:
        """Tokenise a batch: the second third, which may run in another thread if `in_threads`."""

    def finish_batch(self, begun: EncodingBatch) -> Encodings:
        """Make labels, and fit what is too long: the last third."""
        found: Encodings = []
        for record in begun.records:
            try:
                found.append(self.encode_record(record))
            except RowProblem as problem:
                found.append(problem)
        return found

    @property
    def in_threads(self) -> bool:
        """Return whether `tokenise_batch` works outside Python's lock, so that a thread saves time."""
        return False

    # ---- what was learned on the way -----------------------------------------------------------------------

    def note_row(self, record: Record, fitted: FittedRow, origin: object, facts: RowFacts) -> None:
        """Note facts about a row for preflight. Called in file order, in one process."""

    def export_learned(self) -> dict[str, Any]:
        """Return what encoding found out beyond the examples, as JSON values; stored with the tokenised rows.

        Large sets are encoded in several processes, each with its own encoder, and `merge_learned` merges
        what they found. So an id in an example must not depend on what this encoder has seen before: number
            classes by
        the config, or by their sorted names.
        """
        return {}

    def merge_learned(self, learned: dict[str, Any]) -> None:
        """Merge what another process has found out."""

    # ---- which records ------------------------------------------------------------------------------------

    @classmethod
    def check_kind(cls, config: RunConfig, read: ReadRow, record: Record) -> None:
        """Raise `DataError` for a record of a kind that this task cannot use."""
        if isinstance(record, cls.takes):
            return
        if isinstance(record, cls.takes_if_told) and is_format_set(config, read.source):
            return
        error = cls.refusal_error(config, str(read.row.origin), record)
        way = (
            find_format(read.format).suggest_other_way(read.columns, read.row.values) if read.format else None
        )
        if way is not None:
            # The hint's columns belong to another format, so a format that is set must not stay.
            told = {} if config.data.format == "auto" else {"data.format": "auto"}
            others = (way.make_hint(told), error.hint) if way.better else (error.hint, way.make_hint(told))
            error.hint = join_hints(*others)
        raise error

    @classmethod
    def refusal_error(cls, config: RunConfig, where: str, record: Record) -> DataError:
        """Make the error for records of a kind that cannot be used, with what can be done with them."""
        return RowsError(
            _(
                "these rows are {format}, which task {task} cannot use.",
                format=_(_words_for(record)),
                task=config.task,
            ),
            where=where,
            hint=build_hint(_HINTS.get("" if _is_unlabelled(record) else record.kind, "")),
            field="data.path",
        )


def _words_for(record: Record) -> str:
    """Describe such records in the words of the task that takes them, or else of their format."""
    return _ROWS.get(record.kind) or RECORD_FORMATS[_FORMAT_OF_RECORD[record.kind]]


def _is_unlabelled(record: Record) -> bool:
    return isinstance(record, LabelledText) and record.label is None


def is_format_set(config: RunConfig, source: int) -> bool:
    """Return whether the config gives the format or the columns of a source."""
    data = config.data
    one = data.path[source] if isinstance(data.path, list) else None
    told = data.format != "auto" or (isinstance(one, Source) and one.format != "auto")
    return told or bool(data.columns)


def fit_record_pieces(pieces: Sequence[Any], overlong: str) -> FittedRow:
    """Keep, cut or drop a text that became one or more examples of at most `max_length` tokens.

    Raises:
        RowProblem: nothing in it can be trained, or too long texts are dropped.
    """
    if not any(piece.trained_tokens for piece in pieces):
        raise RowProblem(N_("nothing to learn: fewer than two tokens"))
    if len(pieces) == 1:
        return FittedRow(pieces)
    if overlong == "drop":
        raise RowProblem(N_("longer than max_length"))
    if overlong == "truncate":
        return FittedRow(pieces[:1], "truncated", N_("cut at max_length"))
    return FittedRow(pieces, "split", N_("a document longer than max_length, in pieces"))


class ExampleWriter(Protocol):
    """The destination of encoded rows: `store.StoreWriter`, or memory."""

    def add_row(
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
    """Takes batches of rows through cleaning and a task's encoder to the store, and counts each row."""

    def __init__(self, encoder: RecordEncoder) -> None:
        self.encoder = encoder
        self.cleaner = Cleaner(encoder.config.data.cleaning)
        self.facts = RowFacts()
        # A tokenizer without a vocabulary encodes every text to nothing, and every row would be dropped.
        if len(encoder.tokenizer) == 0:
            raise ModelError(_("the tokenizer has no vocabulary."))

    def encode_rows(self, batch: list[ReadRow], writer: ExampleWriter, ledger: Ledger) -> None:
        """Clean, encode and store a batch.

        Raises:
            DataError: records of a kind that the task cannot use.
        """
        rows = self.clean_rows(batch, ledger)
        self.store_rows(rows, self.encoder.encode_batch([row.record for row in rows]), writer, ledger)

    def clean_rows(self, batch: list[ReadRow], ledger: Ledger) -> list[CleanRow]:
        """Return the rows of a batch that cleaning keeps; the others are counted.

        Raises:
            DataError: records of a kind that the task cannot use.
        """
        rows = []
        for read in batch:
            record = read.count_start(ledger)
            if record is None:
                continue
            self.encoder.check_kind(self.encoder.config, read, record)
            cleaned = self.cleaner.clean_record(record, read.row.origin, ledger)
            # A dropped row was counted by the cleaner.
            if cleaned is not None:
                rows.append(CleanRow(read.row.origin, read.source, cleaned.record, cleaned.changed))
        return rows

    def store_rows(
        self, rows: list[CleanRow], found: Encodings, writer: ExampleWriter, ledger: Ledger
    ) -> None:
        """Write the examples of each row, or count the reason why there are none."""
        for row, fitted in zip(rows, found, strict=True):
            if isinstance(fitted, RowProblem):
                ledger.count_row(
                    "dropped", row.origin, fitted.reason, fitted.detail or _show_record(row.record)
                )
            else:
                self._store_row(row, fitted, writer, ledger)

    def _store_row(self, row: CleanRow, fitted: FittedRow, writer: ExampleWriter, ledger: Ledger) -> None:
        self.encoder.note_row(row.record, fitted, row.origin, self.facts)
        outcome, reason, record = fitted.outcome, fitted.reason, row.record
        if outcome == "kept" and row.changed:
            # Splitting and cutting say more about a row than that it was cleaned.
            outcome, reason = "changed", N_("changed by cleaning")
        for example in fitted.examples:
            example.weigh_labels(getattr(record, "weight", 1.0))
        writer.add_row(
            row.origin,
            row.source,
            fitted.examples,
            record,
            hash_record_content(record),
            hash_record_label(record),
        )
        ledger.count_row(
            outcome, row.origin, reason, _show_record(record) if reason else "", len(fitted.examples)
        )


def hash_record_content(record: Record) -> int:
    """Hash the texts of a record to 64 bits, which keeps equal rows on one side of a split."""
    digest = hashlib.blake2b(digest_size=8)
    for text in list_record_texts(record):
        digest.update(text.strip().encode("utf-8", "replace"))
        # Separates the texts, so that two of them never hash like one.
        digest.update(b"\x00")
    return int.from_bytes(digest.digest(), "little")


def hash_record_label(record: Record) -> int:
    """Hash a record's label to 64 bits, by which rows are split in proportion; 0 if it has none."""
    if not isinstance(record, LabelledText) or record.label is None:
        return 0
    # `| 1`, because 0 means that there is no label.
    return int.from_bytes(hashlib.blake2b(str(record.label).encode(), digest_size=8).digest(), "little") | 1


def _show_record(record: Record) -> str:
    return one_line(" | ".join(list_record_texts(record)), 160)
