"""Turn documents into blocks of at most `max_length` tokens, each between the model's own special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tui_tuner.config.advice import build_hint, join_hints, write_setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.batch_tokens import BatchTokenizer
from tui_tuner.data.examples.documents import split_text
from tui_tuner.data.examples.fitting import FittedRow
from tui_tuner.data.examples.record_encoder import (
    EncodingBatch,
    Encodings,
    RecordEncoder,
    RowFacts,
    fit_record_pieces,
)
from tui_tuner.data.masking.special_tokens import SpecialTokens
from tui_tuner.data.masking.word_numbers import WordTokenizer
from tui_tuner.data.read_data import ReadRow
from tui_tuner.data.records import IGNORE, Example, LabelledText, Record, Text
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import DataError
from tui_tuner.locales import N_

# Ids of a text, and the number of the word of each token; None where tokens are chosen one by one
Tokens = tuple[Sequence[int], np.ndarray | None]


@dataclass
class BlockBatch(EncodingBatch):
    """A batch of documents, with their tokens after `tokenise_batch`."""

    tokens: list[Tokens] = field(default_factory=list)


class BlockEncoder(RecordEncoder):
    """Cuts documents into blocks; which tokens are hidden is drawn when a block is read (`masked_rows`).

    Each block begins and ends with the special tokens that the tokenizer puts around a text. No block holds
    text of two documents. The label of a position is the number of the unit that is chosen as a whole, a
    token or a word; special tokens have none, wherever they come from.
    """

    takes = (Text,)

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        self.tokens = BatchTokenizer(tokenizer)
        self.words = WordTokenizer(tokenizer) if config.data.masking.whole_words else None
        self.special = SpecialTokens(tokenizer)
        self._around = self.special.find_around()

    @classmethod
    def check_kind(cls, config: RunConfig, read: ReadRow, record: Record) -> None:
        try:
            super().check_kind(config, read, record)
        except DataError as error:
            column = read.columns.get("text")
            if isinstance(record, LabelledText) and column:
                fix = {"data.format": "text", "data.columns": {"text": column}}
                alone = build_hint(N_("To read their texts alone: {command}.", command=write_setting(fix)))
                error.hint = join_hints(alone, error.hint)
            raise

    def begin_batch(self, records: list[Record]) -> BlockBatch:
        return BlockBatch(records)

    def tokenise_batch(self, begun: EncodingBatch) -> None:
        assert isinstance(begun, BlockBatch)
        texts = [split_text(record.text) for record in begun.records if isinstance(record, Text)]
        found = iter(self._tokenise_texts([part for parts in texts for part in parts]))
        begun.tokens = [_join_parts([next(found) for _part in parts]) for parts in texts]

    def _tokenise_texts(self, texts: list[str]) -> list[Tokens]:
        if self.words is not None:
            return list(self.words.tokenise_texts(texts))
        return [(ids, None) for ids in self.tokens.tokenize_ids(texts)]

    def finish_batch(self, begun: EncodingBatch) -> Encodings:
        assert isinstance(begun, BlockBatch)
        return [self._fit_document(ids, words) for ids, words in begun.tokens]

    def _fit_document(self, ids: Sequence[int], words: np.ndarray | None) -> FittedRow | RowProblem:
        try:
            pieces = self._cut_document(np.asarray(ids, dtype=np.int32), words)
            if not any(piece.trained_tokens for piece in pieces):
                raise RowProblem(N_("nothing to guess: no token that is part of the text"))
            return fit_record_pieces(pieces, self.config.data.overlong)
        except RowProblem as problem:
            return problem

    def _cut_document(self, ids: np.ndarray, words: np.ndarray | None) -> list[Example]:
        front, back = self._around
        room = self.config.data.max_length - len(front) - len(back)
        units = np.arange(len(ids), dtype=np.int32) if words is None else words
        units = np.where(np.isin(ids, self.special.ids), np.int32(IGNORE), units)
        none = [np.full(len(some), IGNORE, dtype=np.int32) for some in (front, back)]
        return [
            Example(
                np.concatenate([front, ids[start : start + room], back]).astype(np.int32),
                np.concatenate([none[0], units[start : start + room], none[1]]).astype(np.int32),
            )
            for start in range(0, len(ids), room)
        ]

    @property
    def in_threads(self) -> bool:
        return self.words is None and self.tokens.in_threads

    def note_row(self, record: Record, fitted: FittedRow, origin: object, facts: RowFacts) -> None:
        if fitted.outcome == "truncated":
            facts.note_origin("cut", origin)


def _join_parts(parts: list[Tokens]) -> Tokens:
    """Join the parts of one document, whose words are numbered from 0 each."""
    if len(parts) == 1:
        return parts[0]
    ids = [one for own, _words in parts for one in own]
    words = [own for _ids, own in parts if own is not None]
    if not words:
        return ids, None
    starts = np.cumsum([0, *(int(own[-1]) + 1 if len(own) else 0 for own in words[:-1])])
    return ids, np.concatenate([own + start for own, start in zip(words, starts, strict=True)])
