"""One batch of rows at a time: cleaned, encoded, made to fit, counted and stored."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tui_tuner.config.kinds import RECORD_FORMATS
from tui_tuner.config.schema import RunConfig, Source
from tui_tuner.data.chat.encoder import ChatEncoder, Encoded, Rendered, TextEncoder
from tui_tuner.data.chat.template import special_tokens
from tui_tuner.data.cleaning.cleaner import Cleaner
from tui_tuner.data.examples.fitting import Fitted, fit
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.reading import Read
from tui_tuner.data.records import Chat, Labelled, Origin, Record, Text, texts_of
from tui_tuner.errors import DataError, ModelError
from tui_tuner.text import one_line

if TYPE_CHECKING:
    import numpy as np

_TASK_TAKES: dict[str, tuple[type, ...]] = {"sft": (Chat, Text), "pretraining": (Text,)}


class Writer(Protocol):
    """Where encoded rows go: `store.StoreWriter`, or memory."""

    def add(
        self,
        origin: Origin,
        source: int,
        pieces: Sequence[tuple[np.ndarray, np.ndarray]],
        record: Any,
        content: int,
        label: int = 0,
    ) -> None: ...


@dataclass
class Facts:
    """What preflight wants to know of all rows; each sample list stays short."""

    answers: int = 0
    stopped: int = 0
    doubled_bos: list[str] = field(default_factory=list)
    unstopped: list[str] = field(default_factory=list)
    cut_answers: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    tools_left_out: list[str] = field(default_factory=list)
    system_left_out: list[str] = field(default_factory=list)
    markers: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def note(self, what: str, origin: object) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        samples = getattr(self, what)
        if len(samples) < 5:
            samples.append(str(origin))


@dataclass
class CleanRow:
    """A row that cleaning kept."""

    origin: Origin
    source: int
    record: Record
    changed: bool


Encodings = list[Fitted | RowProblem]


@dataclass
class Begun:
    """A batch of records on its way to token ids: rendered chats and plain texts, then what they became."""

    records: list[Record]
    rendered: list[Rendered | RowProblem]
    texts: list[str]
    of_chats: list[Any] = field(default_factory=list)
    of_texts: list[Sequence[int]] = field(default_factory=list)


class RowEncoder:
    """Turns batches of records into stored pieces for the config's task."""

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        data = config.data
        self.config = config
        self.tokenizer = tokenizer
        self.task = config.task
        self.chats = ChatEncoder(tokenizer, data.train_on, data.system) if self.task == "sft" else None
        self.texts = TextEncoder(tokenizer, data.max_length)
        self.cleaner = Cleaner(data.cleaning)
        self.facts = Facts()
        markers = special_tokens(tokenizer) if self.chats else []
        self._markers = re.compile("|".join(map(re.escape, markers))) if markers else None
        self.notes: list[str] = []
        if self.chats and not self.chats.tokens.exact_offsets:
            self.notes.append(
                "This tokenizer cannot say where its tokens stand in the text: chats are tokenised in "
                "pieces, cut at the edges of answers."
            )
        if len(tokenizer) == 0:
            raise ModelError("the tokenizer has no vocabulary.")

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end the trained answers."""
        if self.chats:
            return sorted(set(self.chats.stop_tokens.values()))
        eos = getattr(self.texts.tokenizer, "eos_token_id", None)
        return [eos] if eos is not None else []

    @property
    def stops(self) -> dict[str, int]:
        """Text and id of the stop tokens seen so far."""
        return self.chats.stop_tokens if self.chats else {}

    def learn_stops(self, stops: dict[str, int]) -> None:
        """Stop tokens that another process has seen."""
        if self.chats:
            self.chats.stop_tokens.update(stops)

    def add(self, batch: list[Read], writer: Writer, ledger: Ledger) -> None:
        """Take a batch all the way to the store; each row ends in the ledger.

        Raises:
            DataError: records of a kind that the task cannot use.
        """
        rows = self.clean(batch, ledger)
        self.store(rows, self.encode([row.record for row in rows]), writer, ledger)

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
            self._check_kind(read, read.record)
            cleaned = self.cleaner.clean(read.record, read.row.origin, ledger)
            if cleaned is not None:
                rows.append(CleanRow(read.row.origin, read.source, cleaned.record, cleaned.changed))
        return rows

    def store(self, rows: list[CleanRow], found: Encodings, writer: Writer, ledger: Ledger) -> None:
        """Write the pieces of each row, or count why there are none."""
        for row, fitted in zip(rows, found, strict=True):
            if isinstance(fitted, RowProblem):
                ledger.count("dropped", row.origin, fitted.reason, fitted.detail or _shown(row.record))
            else:
                self._store(row, fitted, writer, ledger)

    def _check_kind(self, read: Read, record: Record) -> None:
        takes = _TASK_TAKES.get(self.task, ())
        if isinstance(record, takes) and not (
            self.task == "sft" and isinstance(record, Text) and not self._format_told(read.source)
        ):
            return
        where = str(read.row.origin)
        if isinstance(record, Text):
            raise DataError(
                "plain text holds no answers to train on.",
                where=where,
                hint="Learn every token with --set task=pretraining, or here with --set data.format=text.",
            )
        words = {
            "chat": RECORD_FORMATS["messages"],
            "preference": RECORD_FORMATS["preference"],
            "judged": RECORD_FORMATS["kto"],
            "labelled": RECORD_FORMATS["text_label"],
            "tagged": RECORD_FORMATS["token_tags"],
            "question": RECORD_FORMATS["qa"],
        }
        hints = {
            "chat": "Fine-tune on chats with --set task=sft.",
            "preference": "To train on the chosen answers alone: "
            "--set 'data.columns={prompt: COLUMN, response: chosen}'.",
            "labelled": "To learn the text alone: --set task=pretraining "
            "--set 'data.columns={text: COLUMN}'.",
        }
        raise DataError(
            f"these rows are {words[record.kind]}, which task {self.task} cannot use.",
            where=where,
            hint=hints.get(record.kind, "Or say which column is the prompt and which the response in "
                           "data.columns."),
        )  # fmt: skip

    def _format_told(self, source: int) -> bool:
        """Whether the user said what these rows are, for all data or for this source of several."""
        data = self.config.data
        one = data.path[source] if isinstance(data.path, list) else None
        told = data.format != "auto" or (isinstance(one, Source) and one.format != "auto")
        return told or bool(data.columns)

    def encode(self, records: list[Record]) -> Encodings:
        """Each record's pieces, or the problem that keeps it from being trained on. Touches nothing else."""
        begun = self.begin(records)
        self.tokenise(begun)
        return self.finish(begun)

    def begin(self, records: list[Record]) -> Begun:
        """The first third of `encode`: chats are rendered."""
        chats = [record for record in records if isinstance(record, Chat)]
        texts = [record.text for record in records if isinstance(record, Text)]
        return Begun(records, self.chats.rendered(chats) if self.chats else [], texts)

    def tokenise(self, begun: Begun) -> None:
        """The second third, which may run in another thread (`in_threads` tells whether that gains time)."""
        if self.chats and begun.rendered:
            begun.of_chats = self.chats.tokenised(begun.rendered)
        if begun.texts:
            begun.of_texts = self.texts.tokenised(begun.texts)

    def finish(self, begun: Begun) -> Encodings:
        """The last third: masks, and what is too long is made to fit."""
        of_chats = iter(self.chats.masked(begun.rendered, begun.of_chats) if self.chats else [])
        of_texts = iter(self.texts.pieces(begun.of_texts))
        results: Encodings = []
        for record in begun.records:
            try:
                found = next(of_chats) if isinstance(record, Chat) else next(of_texts)
                results.append(self._fitted(record, found))
            except RowProblem as problem:
                results.append(problem)
        return results

    @property
    def in_threads(self) -> bool:
        """Whether the tokenizer works outside Python's lock."""
        return self.texts.tokens.in_threads

    def _store(self, row: CleanRow, fitted: Fitted, writer: Writer, ledger: Ledger) -> None:
        self._note_facts(fitted, row)
        outcome, reason, record = fitted.outcome, fitted.reason, row.record
        if outcome == "kept" and row.changed:
            outcome, reason = "changed", "changed by cleaning"
        pieces = [(piece.ids, piece.trained) for piece in fitted.pieces]
        writer.add(row.origin, row.source, pieces, record, content_hash(record), label_hash(record))
        ledger.count(outcome, row.origin, reason, _shown(record) if reason else "", len(pieces))

    def _fitted(self, record: Record, found: Encoded | RowProblem | list[Encoded]) -> Fitted:
        if isinstance(found, RowProblem):
            raise found
        if isinstance(found, Encoded):
            assert isinstance(record, Chat) and self.chats is not None
            data = self.config.data
            return fit(record, found, self.chats, data.max_length, data.overlong)
        pieces = found
        if not any(piece.trained.any() for piece in pieces):
            raise RowProblem("nothing to learn: less than two tokens")
        if len(found) == 1:
            return Fitted(pieces)
        if self.config.data.overlong == "drop":
            raise RowProblem("longer than max_length")
        if self.config.data.overlong == "truncate":
            return Fitted(pieces[:1], "truncated", "cut at max_length")
        return Fitted(pieces, "split", "a document longer than max_length, in pieces")

    def _note_facts(self, fitted: Fitted, row: CleanRow) -> None:
        facts, origin = self.facts, row.origin
        if isinstance(row.record, Chat):
            if out_of_order(row.record):
                facts.note("roles", origin)
            if self._markers and any(map(self._markers.search, texts_of(row.record))):
                facts.note("markers", origin)
        left_out = {piece.left_out for piece in fitted.pieces}
        for what in ("tools", "system"):
            if what in left_out:
                facts.note(f"{what}_left_out", origin)
        for piece in fitted.pieces:
            facts.answers += len(piece.stops)
            facts.stopped += sum(piece.stops)
            if piece.doubled_bos:
                facts.note("doubled_bos", origin)
            if self.chats and not all(piece.stops):
                facts.note("unstopped", origin)
        if fitted.outcome == "truncated":
            facts.note("cut_answers", origin)


def out_of_order(chat: Chat) -> bool:
    """Whether roles come in an order in which nobody talks: an answer to nobody, or the same side twice."""
    before = ""
    for message in chat.messages:
        role = message.role
        wrong = {
            "system": before != "",
            "user": before in ("user", "tool"),
            "assistant": before in ("", "system", "assistant"),
            "tool": before not in ("assistant", "tool"),
        }
        if wrong[role]:
            return True
        before = role
    return before == "user"


def content_hash(record: Record) -> int:
    """64 bits over the texts of a record, for keeping equal rows on one side of a split."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts_of(record):
        digest.update(text.strip().encode("utf-8", "replace"))
        digest.update(b"\x00")
    return int.from_bytes(digest.digest(), "little")


def label_hash(record: Record) -> int:
    """64 bits of a record's label; 0 where it has none."""
    if not isinstance(record, Labelled) or record.label is None:
        return 0
    return int.from_bytes(hashlib.blake2b(str(record.label).encode(), digest_size=8).digest(), "little") | 1


def _shown(record: Record) -> str:
    return one_line(" | ".join(texts_of(record)), 160)


__all__ = ["Begun", "CleanRow", "Encodings", "Facts", "RowEncoder", "Writer", "content_hash", "label_hash"]
