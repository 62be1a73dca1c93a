"""Supervised fine-tuning: prompts are read, answers are learnt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tui_tuner.config.advice import advise, setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.choosing import choose_template
from tui_tuner.data.chat.encoder import ChatEncoder, Encoded, Rendered
from tui_tuner.data.chat.moment import rendering
from tui_tuner.data.chat.template import special_tokens
from tui_tuner.data.examples.chat_checks import check_chats, check_reasoning, check_stops
from tui_tuner.data.examples.documents import TextEncoder
from tui_tuner.data.examples.encoder import Begun, Encoder, Encodings, Facts, fit_pieces
from tui_tuner.data.examples.fitting import Fitted, fit
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.preflight import Problem, noted
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Chat, Record, Text, texts_of
from tui_tuner.errors import DataError, RowsError
from tui_tuner.locales import N_, _
from tui_tuner.models.generation import generation_ends
from tui_tuner.tasks.generative import GenerativeTask, check_cuts


@dataclass
class Chats(Begun):
    """A batch of rendered chats (and texts, where the user asked for them), and then what they became."""

    rendered: list[Rendered | RowProblem] = field(default_factory=list)
    of_chats: list[Any] = field(default_factory=list)
    of_texts: list[Sequence[int]] = field(default_factory=list)


class AnswerEncoder(Encoder):
    """Chats with their answers as labels; a text that the user calls one is learnt as a whole."""

    takes = (Chat,)
    takes_if_told = (Text,)

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        super().__init__(config, tokenizer)
        data = config.data
        self.chats = ChatEncoder.of(config, tokenizer)
        self.texts = TextEncoder(tokenizer, data.max_length)
        markers = special_tokens(tokenizer)
        self._markers = re.compile("|".join(map(re.escape, markers))) if markers else None
        if not self.chats.tokens.exact_offsets:
            self.notes.append(
                _(
                    "This tokenizer cannot say where its tokens stand in the text: chats are tokenised in "
                    "pieces, cut at the edges of answers."
                )
            )

    def begin(self, records: list[Record]) -> Chats:
        chats = [record for record in records if isinstance(record, Chat)]
        return Chats(records, self.chats.rendered(chats))

    def tokenise(self, begun: Begun) -> None:
        assert isinstance(begun, Chats)
        if begun.rendered:
            begun.of_chats = self.chats.tokenised(begun.rendered)
        texts = [record.text for record in begun.records if isinstance(record, Text)]
        if texts:
            begun.of_texts = self.texts.tokenised(texts)

    def finish(self, begun: Begun) -> Encodings:
        assert isinstance(begun, Chats)
        of_chats = iter(self.chats.masked(begun.rendered, begun.of_chats))
        of_texts = iter(self.texts.pieces(begun.of_texts))
        found: Encodings = []
        for record in begun.records:
            try:
                if isinstance(record, Chat):
                    found.append(self._fit(record, next(of_chats)))
                else:
                    found.append(fit_pieces(next(of_texts), self.config.data.overlong))
            except RowProblem as problem:
                found.append(problem)
        return found

    def _fit(self, chat: Chat, encoded: Encoded | RowProblem) -> Fitted:
        if isinstance(encoded, RowProblem):
            raise encoded
        data = self.config.data
        return fit(chat, encoded, self.chats, data.max_length, data.overlong)

    @property
    def in_threads(self) -> bool:
        return self.texts.tokens.in_threads

    def note_row(self, record: Record, fitted: Fitted, origin: object, facts: Facts) -> None:
        if isinstance(record, Chat):
            if out_of_order(record):
                facts.note("roles", origin)
            if self._markers and any(map(self._markers.search, texts_of(record))):
                facts.note("markers", origin)
        examples = [example for example in fitted.examples if isinstance(example, Encoded)]
        for remark in sorted({remark for example in examples for remark in example.remarks}):
            facts.note(remark, origin)
        for example in examples:
            facts.add("answers_reasoning", example.remarks.count("reasoning"))
            facts.add("answers_reasoning_left_out", example.remarks.count("reasoning_left_out"))
            facts.add("answers", len(example.stops))
            facts.add("stopped", sum(example.stops))
            if example.doubled_bos:
                facts.note("doubled_bos", origin)
            if not all(example.stops):
                facts.note("unstopped", origin)
        if fitted.outcome == "truncated":
            facts.note("cut", origin)

    def learned(self) -> dict[str, Any]:
        return {"stop_tokens": dict(self.chats.stop_tokens)}

    def learn(self, learned: dict[str, Any]) -> None:
        self.chats.stop_tokens.update(learned["stop_tokens"])

    @classmethod
    def refusal(cls, config: RunConfig, where: str, record: Record) -> DataError:
        if isinstance(record, Text):
            return RowsError(
                _("plain text holds no answers to train on."),
                where=where,
                hint=advise(
                    N_(
                        "Learn every token with {command}, or here with {here}.",
                        command=setting({"task": "pretraining"}),
                        here=setting({"data.format": "text"}),
                    )
                ),
                field="data.path",
            )
        return super().refusal(config, where, record)


class Sft(GenerativeTask):
    """Teach answers: prompts are masked, answers are trained with their stop token."""

    records = (Chat,)
    encoder_class = AnswerEncoder

    def prepare_tokenizer(self, config: RunConfig, tokenizer: Any) -> list[str]:
        note = choose_template(tokenizer, config.model.chat_template)
        return [note] if note else []

    def encoder(self, config: RunConfig, tokenizer: Any) -> Encoder:
        return AnswerEncoder(config, tokenizer)

    def read_beside(self, config: RunConfig, tokenizer: Any) -> Any:
        return {"ends": generation_ends(config.model, tokenizer)}

    def check_rows(self, facts: Facts, ledger: Ledger, config: RunConfig) -> list[Problem]:
        return [
            *check_stops(facts, config),
            *noted(
                facts,
                "doubled_bos",
                "doubled_bos",
                "error",
                _("Rows begin with two BOS tokens."),
                _("Remove the BOS from the chat template or from the rows."),
            ),
            *check_reasoning(facts),
            *check_chats(facts),
            *check_cuts(facts),
        ]

    def encode_prompt(self, tokenizer: Any, text: str) -> list[int]:
        if not getattr(tokenizer, "chat_template", None):
            return super().encode_prompt(tokenizer, text)
        with rendering(tokenizer):
            found = tokenizer.apply_chat_template(
                [{"role": "user", "content": text}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
            )
        return list(found["input_ids"])


def out_of_order(chat: Chat) -> bool:
    """Whether turns are in no valid order: an answer with no question before it, or the same side twice."""
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


TASK = Sft()
