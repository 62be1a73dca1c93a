"""Supervised fine-tuning: the model reads prompts and is trained on answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.chat_encoder import ChatEncoder, EncodedExample, RenderedChat
from tui_tuner.data.chat.moment import render_at_moment
from tui_tuner.data.chat.template import list_special_tokens
from tui_tuner.data.chat.template_choice import choose_template
from tui_tuner.data.examples.chat_checks import check_chats, check_reasoning_kept, check_stop_tokens
from tui_tuner.data.examples.documents import TextEncoder
from tui_tuner.data.examples.fitting import FittedRow, fit_chat
from tui_tuner.data.examples.record_encoder import (
    EncodingBatch,
    Encodings,
    RecordEncoder,
    RowFacts,
    fit_record_pieces,
)
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.preflight import Problem, make_noted_problems
from tui_tuner.data.records import Chat, Record, Text, list_record_texts
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import DataError, RowsError
from tui_tuner.locales import N_, _
from tui_tuner.models.generation import list_generation_ends
from tui_tuner.tasks.generative import GenerativeTask, check_cut_rows


@dataclass
class ChatBatch(EncodingBatch):
    """A batch of rendered chats, and of plain texts on request, with the results of each stage."""

    rendered: list[RenderedChat | RowProblem] = field(default_factory=list)
    of_chats: list[Any] = field(default_factory=list)
    of_texts: list[Sequence[int]] = field(default_factory=list)


class AnswerEncoder(RecordEncoder):
    """Encodes chats with their answers as labels; on request also plain text, which is trained on whole."""

    takes = (Chat,)
    takes_if_told = (Text,)

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        data = config.data
        self.chats = ChatEncoder.from_config(config, tokenizer)
        self.texts = TextEncoder(tokenizer, data.max_length)
        # Special tokens spelled out in a row's text would become real ones, so that such rows are reported.
        markers = list_special_tokens(tokenizer)
        self._markers = re.compile("|".join(map(re.escape, markers))) if markers else None
        if not self.chats.tokens.exact_offsets:
            self.notes.append(
                _(
                    "This tokenizer does not report the positions of its tokens in the text: chats are "
                    "tokenised in pieces, cut at the edges of answers."
                )
            )

    def begin_batch(self, records: list[Record]) -> ChatBatch:
        chats = [record for record in records if isinstance(record, Chat)]
        return ChatBatch(records, self.chats.render_chats(chats))

    def tokenise_batch(self, begun: EncodingBatch) -> None:
        assert isinstance(begun, ChatBatch)
        if begun.rendered:
            begun.of_chats = self.chats.tokenise_chats(begun.rendered)
        texts = [record.text for record in begun.records if isinstance(record, Text)]
        if texts:
            begun.of_texts = self.texts.tokenise_texts(texts)

    def finish_batch(self, begun: EncodingBatch) -> Encodings:
        assert isinstance(begun, ChatBatch)
        of_chats = iter(self.chats.mask_chats(begun.rendered, begun.of_chats))
        of_texts = iter(self.texts.cut_documents(begun.of_texts))
        found: Encodings = []
        for record in begun.records:
            try:
                # Each iterator has a result for every record of its kind, in the order of the batch.
                if isinstance(record, Chat):
                    found.append(self._fit_chat(record, next(of_chats)))
                else:
                    found.append(fit_record_pieces(next(of_texts), self.config.data.overlong))
            except RowProblem as problem:
                found.append(problem)
        return found

    def _fit_chat(self, chat: Chat, encoded: EncodedExample | RowProblem) -> FittedRow:
        if isinstance(encoded, RowProblem):
            raise encoded
        data = self.config.data
        return fit_chat(chat, encoded, self.chats, data.max_length, data.overlong)

    @property
    def in_threads(self) -> bool:
        return self.texts.tokens.in_threads

    def note_row(self, record: Record, fitted: FittedRow, origin: object, facts: RowFacts) -> None:
        if isinstance(record, Chat):
            if are_turns_unordered(record):
                facts.note_origin("roles", origin)
            if self._markers and any(map(self._markers.search, list_record_texts(record))):
                facts.note_origin("markers", origin)
        examples = [example for example in fitted.examples if isinstance(example, EncodedExample)]
        for remark in sorted({remark for example in examples for remark in example.remarks}):
            facts.note_origin(remark, origin)
        for example in examples:
            # Counted per answer, while a note counts a row once.
            facts.add_count("answers_reasoning", example.remarks.count("reasoning"))
            facts.add_count("answers_reasoning_left_out", example.remarks.count("reasoning_left_out"))
            facts.add_count("answers", len(example.stops))
            facts.add_count("stopped", sum(example.stops))
            if example.doubled_bos:
                facts.note_origin("doubled_bos", origin)
            if not all(example.stops):
                facts.note_origin("unstopped", origin)
        if fitted.outcome == "truncated":
            facts.note_origin("cut", origin)

    def export_learned(self) -> dict[str, Any]:
        return {"stop_tokens": dict(self.chats.stop_tokens)}

    def merge_learned(self, learned: dict[str, Any]) -> None:
        self.chats.stop_tokens.update(learned["stop_tokens"])

    @classmethod
    def refusal_error(cls, config: RunConfig, where: str, record: Record) -> DataError:
        if isinstance(record, Text):
            return RowsError(
                _("plain text has no answers to train on."),
                where=where,
                hint=build_hint(
                    N_(
                        "Train on every token with {command}, or within this task with {here}.",
                        command=write_setting({"task": "pretraining"}),
                        here=write_setting({"data.format": "text"}),
                    )
                ),
                field="data.path",
            )
        return super().refusal_error(config, where, record)


class Sft(GenerativeTask):
    """Trains answers: prompts are masked, answers are trained with their stop token."""

    records = (Chat,)
    encoder_class = AnswerEncoder

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        note = choose_template(tokenizer, config.model.chat_template)
        return [note] if note else []

    def make_encoder(self, config: RunConfig, tokenizer: Any) -> RecordEncoder:
        return AnswerEncoder(config, tokenizer)

    def read_cache_extras(self, config: RunConfig, tokenizer: Any) -> Any:
        # The tokens that end answers may come from the model's files, which the key does not cover.
        return {"ends": list_generation_ends(config.model, tokenizer)}

    def check_rows(self, facts: RowFacts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        return [
            *check_stop_tokens(facts, config),
            *make_noted_problems(
                facts,
                "doubled_bos",
                "doubled_bos",
                "error",
                _("Rows begin with two BOS tokens."),
                _("Remove the BOS from the chat template or from the rows."),
            ),
            *check_reasoning_kept(facts),
            *check_chats(facts),
            *check_cut_rows(facts),
        ]

    def encode_prompt(self, config: RunConfig, tokenizer: Any, text: str) -> list[int]:
        if not getattr(tokenizer, "chat_template", None):
            return super().encode_prompt(config, tokenizer, text)
        # A template that writes the date must write the one that was trained on.
        with render_at_moment(tokenizer):
            found = tokenizer.apply_chat_template(
                [{"role": "user", "content": text}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
            )
        return list(found["input_ids"])


def are_turns_unordered(chat: Chat) -> bool:
    """Return whether the turns of a chat are in an invalid order."""
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
    # A question at the end has no answer, so the chat teaches nothing there.
    return before == "user"


TASK = Sft()
