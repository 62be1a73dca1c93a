"""Encode a text and what to write for it: the ids of the source, followed by those of the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.fitting import FittedRow
from tui_tuner.data.examples.record_encoder import (
    EncodingBatch,
    Encodings,
    RecordEncoder,
    RowFacts,
)
from tui_tuner.data.records import IGNORE, Chat, Example, Message, Record
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _
from tui_tuner.tasks.rewriting.languages import find_language_start

SOURCE = "source"  # the column with the number of tokens that belong to the source
COLUMNS = {SOURCE: "int64"}
# Reasons of the ledger
CUT_SOURCE = N_("a source longer than max_source, cut at its end")
CUT_TARGET = N_("a target longer than max_target, cut at its end")
CUT_BOTH = N_("source and target longer than their limits, both cut at their ends")


class PairExample(Example):
    """An example, with which of its sides were cut."""

    cut: tuple[bool, bool] = (False, False)


class PairEncoder(RecordEncoder):
    """Tokenises both sides as the tokenizer does it by itself, with its special tokens.

    The source is everything before the last answer, one turn after another, and the target is that answer.
    """

    takes = (Chat,)

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        self.prefix = config.data.prefix or ""

    def encode_batch(self, records: list[Record]) -> Encodings:
        return self.finish_batch(self.begin_batch(records))

    def finish_batch(self, begun: EncodingBatch) -> Encodings:
        found: list[Any] = []
        for record in begun.records:
            try:
                found.append(split_sides(record))
            except RowProblem as problem:
                found.append(problem)
        sides = [one for one in found if not isinstance(one, RowProblem)]
        data = self.config.data
        # In one call each: a tokenizer of the tokenizers library spreads a batch over all cores.
        sources = self._tokenise([self.prefix + source for source, _unused in sides], data.max_source)
        targets = self._tokenise([target for _unused, target in sides], data.max_target, target=True)
        fitted = iter(zip(sources, targets, strict=True))
        return [
            one if isinstance(one, RowProblem) else _weigh_target(record, self._fit_sides(*next(fitted)))
            for record, one in zip(begun.records, found, strict=True)
        ]

    def _tokenise(self, texts: list[str], most: int, target: bool = False) -> list[tuple[Sequence[int], int]]:
        """Return the ids of each text, at most this many, and how many it has by itself."""
        if not texts:
            return []
        whole = self._call_tokenizer(texts, target)
        found = [(ids, len(ids)) for ids in whole]
        over = [place for place, ids in enumerate(whole) if len(ids) > most]
        # The tokenizer cuts by itself, because it keeps the special tokens at both ends.
        for place in over:
            cut = self._call_tokenizer([texts[place]], target, truncation=True, max_length=most)[0]
            found[place] = (cut, len(whole[place]))
        return found

    def _call_tokenizer(self, texts: list[str], target: bool, **more: Any) -> list[Sequence[int]]:
        named = {"text_target": texts} if target else {"text": texts}
        return list(self.tokenizer(**named, return_attention_mask=False, **more)["input_ids"])

    def _fit_sides(
        self, source: tuple[Sequence[int], int], target: tuple[Sequence[int], int]
    ) -> FittedRow | RowProblem:
        (ids, had), (labels, wanted) = source, target
        cut = (len(ids) < had, len(labels) < wanted)
        if any(cut) and self.config.data.overlong == "drop":
            return RowProblem(
                N_("longer than max_source or max_target"),
                _("{source} tokens of source, {target} of target", source=had, target=wanted),
            )
        both = np.array([*ids, *labels], dtype=np.int32)
        marked = both.copy()
        marked[: len(ids)] = IGNORE
        example = PairExample(both, marked, {SOURCE: len(ids)})
        example.cut = cut
        if not any(cut):
            return FittedRow([example])
        reason = CUT_BOTH if all(cut) else CUT_SOURCE if cut[0] else CUT_TARGET
        return FittedRow([example], "truncated", reason)

    def note_row(self, record: Record, fitted: FittedRow, origin: object, facts: RowFacts) -> None:
        if isinstance(record, Chat) and len(record.messages) > 2:
            facts.note_origin("turns", origin)
        for example in fitted.examples:
            source, target = getattr(example, "cut", (False, False))
            if source:
                facts.note_origin("cut_source", origin)
            if target:
                facts.note_origin("cut_target", origin)

    def export_learned(self) -> dict[str, Any]:
        eos = getattr(self.tokenizer, "eos_token_id", None)
        return {
            "stop_tokens": {str(self.tokenizer.eos_token): eos} if eos is not None else {},
            "start": find_language_start(self.tokenizer, self.config.data.target_language),
        }


def _weigh_target(record: Record, fitted: FittedRow | RowProblem) -> FittedRow | RowProblem:
    """Give the examples of a row the weight of the message that is their target."""
    target = _find_target(record)
    if target is not None and isinstance(fitted, FittedRow) and isinstance(record, Chat):
        for example in fitted.examples:
            example.weigh_labels(record.messages[target].weight)
    return fitted


def _find_target(record: Record) -> int | None:
    """Return the place of the last answer among the messages of a chat."""
    messages = record.messages if isinstance(record, Chat) else []
    places = [place for place, message in enumerate(messages) if message.role == "assistant"]
    return places[-1] if places else None


def split_sides(record: Record) -> tuple[str, str]:
    """Return the source and the target of a record.

    Raises:
        RowProblem: one of them is missing or empty, or the target is marked as not trained.
    """
    assert isinstance(record, Chat)
    last = _find_target(record)
    if last is None:
        raise RowProblem(N_("no target: the row has no answer"))
    if record.messages[last].train is False:
        raise RowProblem(N_("nothing to learn: no trained answer in the row"))
    target = record.messages[last].content or ""
    source = join_turns(record.messages[:last])
    if not source.strip():
        raise RowProblem(N_("the source is empty"))
    if not target.strip():
        raise RowProblem(N_("the target is empty"))
    return source, target


def join_turns(messages: Sequence[Message]) -> str:
    """Return the texts of turns, one after another."""
    return "\n".join(message.content for message in messages if message.content)
