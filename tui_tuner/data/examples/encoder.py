"""What a task says about its rows: which it takes, how a record becomes examples, what preflight notes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tui_tuner.config.advice import advise, hints, setting
from tui_tuner.config.kinds import RECORD_FORMATS, TASKS
from tui_tuner.config.schema import RunConfig, Source
from tui_tuner.data.cleaning.cleaner import Cleaner
from tui_tuner.data.examples.fitting import Fitted
from tui_tuner.data.formats import find_format
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.reading import Read
from tui_tuner.data.records import Example, Labelled, Origin, Record, texts_of
from tui_tuner.errors import DataError, ModelError, RowsError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

SAMPLES = 5
Encodings = list[Fitted | RowProblem]

# What a record of each kind is called where a task cannot use it, and what to do about it
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
# The task that takes such records as they are. Formats say themselves how else their rows can be read
# (`Format.otherwise`)
_HINTS = {
    "chat": N_("Fine-tune on chats with {command}.", command=setting({"task": "sft"})),
    "text": N_("Learn plain text with {command}.", command=setting({"task": "pretraining"})),
    "labelled": N_("Learn the classes with {command}.", command=setting({"task": "classification"})),
    "tagged": N_("Learn the tags with {command}.", command=setting({"task": "token_classification"})),
    "question": N_(
        "Learn to find answers inside their texts with {command}.",
        command=setting({"task": "question_answering"}),
    ),
}


@dataclass
class Facts:
    """What preflight wants to know of all rows: counts, and the first few rows of each kind of remark."""

    counts: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, count: int) -> None:
        """Count things that need no row to be named."""
        self.counts[what] = self.counts.get(what, 0) + count

    def note(self, what: str, origin: object) -> None:
        """Count a row, and keep its place if it is among the first."""
        self.add(what, 1)
        samples = self.samples.setdefault(what, [])
        if len(samples) < SAMPLES:
            samples.append(str(origin))

    def count(self, what: str) -> int:
        return self.counts.get(what, 0)

    def rows(self, what: str) -> list[str]:
        """Places of the first few rows that were noted."""
        return self.samples.get(what, [])


@dataclass
class Begun:
    """A batch of records on its way to examples; a task's encoder may add what it needs on the way."""

    records: list[Record]


class Encoder:
    """Turns records into examples. A task subclasses it.

    Implement `encode_record`. A task whose tokenizer work can run in another thread overrides `begin`,
    `tokenise` and `finish` instead, the three thirds of `encode`.

    Attributes:
        takes: Kinds of records it takes as they come.
        takes_if_told: Kinds it takes only where the config says which format or columns the rows have.
        notes: What the user should know of this tokenizer.
    """

    takes: tuple[type[Record], ...] = ()
    takes_if_told: tuple[type[Record], ...] = ()

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.notes: list[str] = []

    def encode_record(self, record: Any) -> Fitted:
        """The examples of one record, none of them longer than `data.max_length`, and what was done for it.

        Raises:
            RowProblem: it cannot be trained on; the reason ends in the ledger.
        """
        raise NotImplementedError

    # ---- a batch, in three thirds -------------------------------------------------------------------------

    def encode(self, records: list[Record]) -> Encodings:
        """Each record's examples, or the problem that keeps it from being trained on."""
        begun = self.begin(records)
        self.tokenise(begun)
        return self.finish(begun)

    def begin(self, records: list[Record]) -> Begun:
        """The first third: everything before the tokenizer."""
        return Begun(records)

    def tokenise(self, begun: Begun) -> None:
        """The second third, which may run in another thread (`in_threads` tells whether that gains time)."""

    def finish(self, begun: Begun) -> Encodings:
        """The last third: labels, and what is too long is made to fit."""
        found: Encodings = []
        for record in begun.records:
            try:
                found.append(self.encode_record(record))
            except RowProblem as problem:
                found.append(problem)
        return found

    @property
    def in_threads(self) -> bool:
        """Whether `tokenise` works outside Python's lock."""
        return False

    # ---- what was learnt on the way -----------------------------------------------------------------------

    def note_row(self, record: Record, fitted: Fitted, origin: object, facts: Facts) -> None:
        """Note for preflight what is remarkable about a row. Called in file order, in one process."""

    def learned(self) -> dict[str, Any]:
        """What encoding found out beyond the examples, as JSON values; kept with the tokenised rows.

        Large sets are encoded in several processes, each with an encoder of its own, and `learn` brings
        together what they found. So an id that is put into an example must not depend on what this encoder
        has seen before: number classes by the config, or by their sorted names.
        """
        return {}

    def learn(self, learned: dict[str, Any]) -> None:
        """Take in what another process has found out."""

    # ---- which records ------------------------------------------------------------------------------------

    @classmethod
    def check_kind(cls, config: RunConfig, read: Read, record: Record) -> None:
        """Raise `DataError` for a record of a kind that this task cannot use."""
        if isinstance(record, cls.takes):
            return
        if isinstance(record, cls.takes_if_told) and format_told(config, read.source):
            return
        error = cls.refusal(config, str(read.row.origin), record)
        way = find_format(read.format).otherwise(read.columns, read.row.values) if read.format else None
        if way is not None:
            told = {} if config.data.format == "auto" else {"data.format": "auto"}
            others = (way.hint(told), error.hint) if way.better else (error.hint, way.hint(told))
            error.hint = hints(*others)
        raise error

    @classmethod
    def refusal(cls, config: RunConfig, where: str, record: Record) -> DataError:
        """Why records of this kind cannot be used, and what can be done with them."""
        return RowsError(
            _(
                "these rows are {format}, which task {task} cannot use.",
                format=_(_words_for(record)),
                task=config.task,
            ),
            where=where,
            hint=advise(_HINTS.get("" if _is_unlabelled(record) else record.kind, "")),
            field="data.path",
        )


def _words_for(record: Record) -> str:
    """What such records are: as the task that takes them says, or else as their format does."""
    return _ROWS.get(record.kind) or RECORD_FORMATS[_FORMAT_OF_RECORD[record.kind]]


def _is_unlabelled(record: Record) -> bool:
    return isinstance(record, Labelled) and record.label is None


def format_told(config: RunConfig, source: int) -> bool:
    """Whether the user said what the rows of a source are, for all data or for this source of several."""
    data = config.data
    one = data.path[source] if isinstance(data.path, list) else None
    told = data.format != "auto" or (isinstance(one, Source) and one.format != "auto")
    return told or bool(data.columns)


def fit_pieces(pieces: Sequence[Any], overlong: str) -> Fitted:
    """A text that became one or several examples of at most `max_length` tokens.

    Raises:
        RowProblem: nothing in it can be learnt, or what is too long is dropped.
    """
    if not any(piece.trained_tokens for piece in pieces):
        raise RowProblem(N_("nothing to learn: less than two tokens"))
    if len(pieces) == 1:
        return Fitted(pieces)
    if overlong == "drop":
        raise RowProblem(N_("longer than max_length"))
    if overlong == "truncate":
        return Fitted(pieces[:1], "truncated", N_("cut at max_length"))
    return Fitted(pieces, "split", N_("a document longer than max_length, in pieces"))


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
            raise ModelError(_("the tokenizer has no vocabulary."))

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
            record = read.begun(ledger)
            if record is None:
                continue
            self.encoder.check_kind(self.encoder.config, read, record)
            cleaned = self.cleaner.clean(record, read.row.origin, ledger)
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
            outcome, reason = "changed", N_("changed by cleaning")
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
