"""One batch of rows at a time: cleaned, encoded, made to fit, counted and stored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tui_tuner.config.kinds import RECORD_FORMATS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat import ChatEncoder, Encoded, TextEncoder
from tui_tuner.data.cleaning import Cleaner
from tui_tuner.data.fitting import Fitted, fit
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
    counts: dict[str, int] = field(default_factory=dict)

    def note(self, what: str, origin: object) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        samples = getattr(self, what)
        if len(samples) < 5:
            samples.append(str(origin))


class RowEncoder:
    """Turns batches of records into stored pieces for the config's task."""

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        data = config.data
        self.config = config
        self.task = config.task
        self.chats = ChatEncoder(tokenizer, data.train_on, data.system) if self.task == "sft" else None
        self.texts = TextEncoder(tokenizer, data.max_length)
        self.cleaner = Cleaner(data.cleaning)
        self.facts = Facts()
        self.notes: list[str] = []
        if self.chats and not self.chats.exact_offsets:
            self.notes.append(
                "This tokenizer cannot say where its tokens stand in the text: chats are tokenised in pieces, "
                "cut at the edges of answers."
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

    def add(self, batch: list[Read], writer: Writer, ledger: Ledger) -> None:
        """Take a batch through to the store; each row ends in the ledger.

        Raises:
            DataError: records of a kind that the task cannot use.
        """
        rows: list[tuple[Read, Record, bool]] = []
        for read in batch:
            if read.record is None:
                problem = read.problem or RowProblem("unreadable")
                ledger.count("dropped", read.row.origin, problem.reason, problem.detail)
                continue
            self._check_kind(read, read.record)
            cleaned = self.cleaner.clean(read.record, read.row.origin, ledger)
            if cleaned is not None:
                rows.append((read, cleaned.record, cleaned.changed))
        encoded = self._encode([record for _, record, _ in rows])
        for (read, record, changed), found in zip(rows, encoded, strict=True):
            self._store(read, record, changed, found, writer, ledger)

    def _check_kind(self, read: Read, record: Record) -> None:
        takes = _TASK_TAKES.get(self.task, ())
        format_told = self.config.data.format != "auto" or self.config.data.columns
        if isinstance(record, takes) and not (
            self.task == "sft" and isinstance(record, Text) and not format_told
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
            "labelled": "To learn the text alone: --set task=pretraining --set 'data.columns={text: COLUMN}'.",
        }
        raise DataError(
            f"these rows are {words[record.kind]}, which task {self.task} cannot use.",
            where=where,
            hint=hints.get(record.kind, "Or say which column is the prompt and which the response in "
                           "data.columns."),
        )  # fmt: skip

    def _encode(self, records: list[Record]) -> list[Encoded | RowProblem | list[Encoded]]:
        """Chats and texts keep their places."""
        results: list[Encoded | RowProblem | list[Encoded]] = [RowProblem("not encoded")] * len(records)
        chats = [(i, record) for i, record in enumerate(records) if isinstance(record, Chat)]
        texts = [(i, record) for i, record in enumerate(records) if isinstance(record, Text)]
        if chats and self.chats:
            for (place, _), found in zip(
                chats, self.chats.encode_all([chat for _, chat in chats]), strict=True
            ):
                results[place] = found
        if texts:
            for (place, _), pieces in zip(
                texts, self.texts.encode_all([text.text for _, text in texts]), strict=True
            ):
                results[place] = pieces
        return results

    def _store(
        self,
        read: Read,
        record: Record,
        changed: bool,
        found: Encoded | RowProblem | list[Encoded],
        writer: Writer,
        ledger: Ledger,
    ) -> None:
        origin = read.row.origin
        try:
            fitted = self._fitted(record, found)
        except RowProblem as problem:
            ledger.count("dropped", origin, problem.reason, problem.detail)
            return
        self._note_facts(fitted, origin)
        outcome, reason = fitted.outcome, fitted.reason
        if outcome == "kept" and changed:
            outcome, reason = "changed", "changed by cleaning"
        pieces = [(piece.ids, piece.trained) for piece in fitted.pieces]
        writer.add(origin, read.source, pieces, asdict(record), content_hash(record), label_hash(record))
        ledger.count(outcome, origin, reason, _shown(record) if reason else "", len(pieces))

    def _fitted(self, record: Record, found: Encoded | RowProblem | list[Encoded]) -> Fitted:
        if isinstance(found, RowProblem):
            raise found
        if isinstance(found, Encoded):
            assert isinstance(record, Chat) and self.chats is not None
            data = self.config.data
            return fit(record, found, self.chats, data.max_length, data.overlong)
        pieces = [piece for piece in found if piece.trained.any()]
        if not pieces:
            raise RowProblem("nothing to learn: less than two tokens")
        if len(found) == 1:
            return Fitted(pieces)
        if self.config.data.overlong == "drop":
            raise RowProblem("longer than max_length")
        if self.config.data.overlong == "truncate":
            return Fitted(pieces[:1], "truncated", "cut at max_length")
        return Fitted(pieces, "split", "a document longer than max_length, in pieces")

    def _note_facts(self, fitted: Fitted, origin: Any) -> None:
        facts = self.facts
        for piece in fitted.pieces:
            facts.answers += len(piece.stops)
            facts.stopped += sum(piece.stops)
            if piece.doubled_bos:
                facts.note("doubled_bos", origin)
            if self.chats and not all(piece.stops):
                facts.note("unstopped", origin)
        if fitted.outcome == "truncated":
            facts.note("cut_answers", origin)


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


__all__ = ["Facts", "RowEncoder", "content_hash", "label_hash", "Writer"]
