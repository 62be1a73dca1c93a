"""Train a causal model on plain text, with every token as a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.documents import TextEncoder
from tui_tuner.data.examples.fitting import FittedRow
from tui_tuner.data.examples.record_encoder import (
    EncodingBatch,
    Encodings,
    RecordEncoder,
    RowFacts,
    fit_record_pieces,
)
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.preflight import Problem
from tui_tuner.data.records import Record, Text
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.tasks.generative import GenerativeTask, check_cut_rows


@dataclass
class DocumentBatch(EncodingBatch):
    """A batch of documents, with their token ids after `tokenise_batch`."""

    tokens: list[Sequence[int]] = field(default_factory=list)


class DocumentEncoder(RecordEncoder):
    """Cuts documents into sequences of at most `max_length` tokens, all of them trained on."""

    takes = (Text,)

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        self.texts = TextEncoder(tokenizer, config.data.max_length)

    def begin_batch(self, records: list[Record]) -> DocumentBatch:
        return DocumentBatch(records)

    def tokenise_batch(self, begun: EncodingBatch) -> None:
        assert isinstance(begun, DocumentBatch)
        texts = [record.text for record in begun.records if isinstance(record, Text)]
        begun.tokens = self.texts.tokenise_texts(texts) if texts else []

    def finish_batch(self, begun: EncodingBatch) -> Encodings:
        assert isinstance(begun, DocumentBatch)
        found: Encodings = []
        for pieces in self.texts.cut_documents(begun.tokens):
            try:
                found.append(fit_record_pieces(pieces, self.config.data.overlong))
            except RowProblem as problem:
                found.append(problem)
        return found

    @property
    def in_threads(self) -> bool:
        return self.texts.tokens.in_threads

    def note_row(self, record: Record, fitted: FittedRow, origin: object, facts: RowFacts) -> None:
        if fitted.outcome == "truncated":
            facts.note_origin("cut", origin)

    def export_learned(self) -> dict[str, Any]:
        eos = getattr(self.tokenizer, "eos_token_id", None)
        return {"stop_tokens": {str(self.tokenizer.eos_token): eos} if eos is not None else {}}


class Pretraining(GenerativeTask):
    """Trains from scratch or further: every token of every document is a target."""

    records = (Text,)
    encoder_class = DocumentEncoder

    def make_encoder(self, config: RunConfig, tokenizer: Any) -> RecordEncoder:
        return DocumentEncoder(config, tokenizer)

    def check_rows(self, facts: RowFacts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        return check_cut_rows(facts)


TASK = Pretraining()
