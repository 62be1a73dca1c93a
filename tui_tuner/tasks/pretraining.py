"""Learn plain text, every token of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.documents import TextEncoder
from tui_tuner.data.examples.encoder import Begun, Encoder, Encodings, Facts, fit_pieces
from tui_tuner.data.examples.fitting import Fitted
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.preflight import Problem
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Record, Text
from tui_tuner.tasks.generative import GenerativeTask, check_cuts


@dataclass
class Documents(Begun):
    """A batch of documents, and then their token ids."""

    tokens: list[Sequence[int]] = field(default_factory=list)


class DocumentEncoder(Encoder):
    """Documents become sequences of at most `max_length` tokens, all of them learnt."""

    takes = (Text,)

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        self.texts = TextEncoder(tokenizer, config.data.max_length)

    def begin(self, records: list[Record]) -> Documents:
        return Documents(records)

    def tokenise(self, begun: Begun) -> None:
        assert isinstance(begun, Documents)
        texts = [record.text for record in begun.records if isinstance(record, Text)]
        begun.tokens = self.texts.tokenised(texts) if texts else []

    def finish(self, begun: Begun) -> Encodings:
        assert isinstance(begun, Documents)
        found: Encodings = []
        for pieces in self.texts.pieces(begun.tokens):
            try:
                found.append(fit_pieces(pieces, self.config.data.overlong))
            except RowProblem as problem:
                found.append(problem)
        return found

    @property
    def in_threads(self) -> bool:
        return self.texts.tokens.in_threads

    def note_row(self, record: Record, fitted: Fitted, origin: object, facts: Facts) -> None:
        if fitted.outcome == "truncated":
            facts.note("cut", origin)

    def learned(self) -> dict[str, Any]:
        eos = getattr(self.tokenizer, "eos_token_id", None)
        return {"stop_tokens": {str(self.tokenizer.eos_token): eos} if eos is not None else {}}


class Pretraining(GenerativeTask):
    """From scratch or continued: every token of every document is a target."""

    records = (Text,)
    encoder_class = DocumentEncoder

    def encoder(self, config: RunConfig, tokenizer: Any) -> Encoder:
        return DocumentEncoder(config, tokenizer)

    def check_rows(self, facts: Facts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        return check_cuts(facts)


TASK = Pretraining()
