"""Turn a chat into an example: its token ids, and labels where an answer is trained.

The whole rendered chat is tokenised once, as at inference, and the characters of the answers are mapped to
tokens by their offsets. A token across the edge of an answer is trained if any part of it belongs to the
answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.answer_finder import AnswerFinder, AnswerSpan
from tui_tuner.data.chat.batch_tokens import BatchTokenizer, PlacedTokens
from tui_tuner.data.chat.marks import Turn
from tui_tuner.data.chat.remarks import are_tools_shown, list_answer_remarks, list_ranges_outside_answers
from tui_tuner.data.chat.spelling import (
    TurnSpeller,
    list_turn_spellings,
    spell_arguments_as_text,
    writes_python_arguments,
)
from tui_tuner.data.chat.stops import StopTokens
from tui_tuner.data.chat.template import render_chat
from tui_tuner.data.records import Chat, Example, Message, make_next_token_labels, make_next_token_mask
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_
from tui_tuner.models.generation import list_generation_ends

# Longer chats are rejected: tokenising one as a whole would take gigabytes.
MAX_CHAT = 4_000_000


@dataclass
class EncodedExample(Example):
    """An example of next-token prediction, with facts about its answers.

    Args:
        answers: The token range and the message of each answer that is trained.
        stops: For each of them, whether it contains its stop token.
        remarks: What preflight counts, as in `remarks.REMARKS`.
    """

    answers: list[tuple[int, int, int]] = field(default_factory=list)
    stops: list[bool] = field(default_factory=list)
    doubled_bos: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def mask_of_trained(self) -> np.ndarray:
        """bool [length]: the tokens that are trained."""
        return make_next_token_mask(self.labels)


@dataclass
class RenderedChat:
    """The text of a chat, its answers that are trained, and remarks on them.

    Args:
        weights: What the losses of each answer count.
        everything: The ranges of characters that are trained in addition to the answers; None if only answers
            are.
        left: The answers that are not trained.
    """

    text: str
    spans: list[AnswerSpan]
    weights: list[float]
    remarks: tuple[str, ...] = ()
    everything: list[tuple[int, int]] | None = None
    left: list[AnswerSpan] = field(default_factory=list)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The ranges of characters whose edges are edges of training, too."""
        return [*((span.start, span.end) for span in self.spans), *(self.everything or ())]


class ChatEncoder:
    """Encodes chats with one tokenizer. Its template must be chosen before (`choose_template`).

    Args:
        ends: Texts of the tokens that the model's generation config stops at, besides the tokenizer's eos.
    """

    def __init__(
        self,
        tokenizer: Any,
        train_on: Literal["all_answers", "last_answer", "everything"] = "all_answers",
        system: str | None = None,
        system_turns: Literal["keep", "first_user", "drop"] = "keep",
        ends: Sequence[str] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.train_on = train_on
        self.system = system
        self.system_turns = system_turns
        self.tokens = BatchTokenizer(tokenizer)
        self._bos = getattr(tokenizer, "bos_token_id", None)
        self.stop_tokens: dict[str, int] = {}
        self._spelling = TurnSpeller(self._render_turns)
        self._turns = AnswerFinder(self._render_turns, StopTokens.from_tokenizer(tokenizer, ends))

    @classmethod
    def from_config(cls, config: RunConfig, tokenizer: Any) -> ChatEncoder:
        """Make the encoder of a run."""
        data = config.data
        ends = list_generation_ends(config.model, tokenizer)
        return cls(tokenizer, data.train_on, data.system, data.system_turns, ends)

    def _render_turns(self, messages: Sequence[Turn], tools: Any, generation: bool) -> str:
        return render_chat(self.tokenizer, messages, tools, generation)

    def prepare_messages(self, chat: Chat) -> list[Message]:
        """Return the chat's turns with the system messages that the run wants."""
        messages = chat.messages
        # A row's own system message wins over that of the config.
        if self.system and (not messages or messages[0].role != "system"):
            messages = [Message("system", self.system), *messages]
        return messages if self.system_turns == "keep" else self._remove_system(messages)

    def _remove_system(self, messages: list[Message]) -> list[Message]:
        """Remove system messages; their text goes before the first question if the run asks for that."""
        said = [(m.content or "").strip() for m in messages if m.role == "system"]
        said = [text for text in said if text]
        others = [message for message in messages if message.role != "system"]
        first = next((i for i, message in enumerate(others) if message.role == "user"), None)
        if said and self.system_turns == "first_user":
            if first is None:
                return [Message("user", "\n\n".join(said)), *others]
            asked = "\n\n".join([*said, others[first].content or ""])
            # A copy, since the record is shared with the store.
            others[first] = replace(others[first], content=asked)
        return others

    def render_text(self, chat: Chat, generation: bool = False) -> str:
        """Render a chat.

        Raises:
            RowProblem: the template refuses it.
        """
        return self._render_turns(
            self._spelling.spell_turns(self.prepare_messages(chat)), chat.tools, generation
        )

    def encode_chat(self, chat: Chat) -> EncodedExample:
        """Encode one chat as token ids and a mask.

        Raises:
            RowProblem: the template refuses it, or an answer cannot be found in it.
        """
        found = self.encode_all([chat])[0]
        if isinstance(found, RowProblem):
            raise found
        return found

    def encode_all(self, chats: Sequence[Chat]) -> list[EncodedExample | RowProblem]:
        """Encode many chats at once; a chat that cannot be encoded is replaced by its problem."""
        rendered = self.render_chats(chats)
        return self.mask_chats(rendered, self.tokenise_chats(rendered))

    def render_chats(self, chats: Sequence[Chat]) -> list[RenderedChat | RowProblem]:
        """Render each chat and find its trained answers: the first third of `encode_all`."""
        found: list[RenderedChat | RowProblem] = []
        for chat in chats:
            try:
                found.append(self._render_chat(chat))
            except RowProblem as problem:
                found.append(problem)
        return found

    def tokenise_chats(self, rendered: Sequence[RenderedChat | RowProblem]) -> list[Any]:
        """Tokenise the rendered chats: the second third, which may run in another thread."""
        work = [one for one in rendered if isinstance(one, RenderedChat)]
        edges = [[edge for both in one.ranges for edge in both] for one in work]
        return self.tokens.encode_batch([one.text for one in work], edges) if work else []

    def mask_chats(
        self, rendered: Sequence[RenderedChat | RowProblem], found: list[Any]
    ) -> list[EncodedExample | RowProblem]:
        """Make ids and mask of each chat: the last third."""
        encodings = iter(found)
        return [
            one
            if isinstance(one, RowProblem)
            else self._mask_chat(one, self.tokens.place_tokens(next(encodings)))
            for one in rendered
        ]

    def _render_chat(self, chat: Chat) -> RenderedChat:
        messages = self.prepare_messages(chat)
        size = sum(len(text) for m in messages for text in (m.content, m.reasoning) if text)
        if size > MAX_CHAT:
            raise RowProblem(N_("the chat is longer than {most:,} characters", most=MAX_CHAT), f"{size:,}")
        text, spans = self._find_answers(messages, chat.tools)
        remarks = self._list_turn_remarks(chat, messages, text, spans)
        # Only the last answer can lack its stop; in the middle of a chat the template writes it.
        if spans and (added := spans[-1].added):
            end = spans[-1].end
            text = text[:end] + added + text[end:]
            spans[-1] = replace(spans[-1], end=end + len(added), stop=added.strip())
        last = max((span.index for span in spans), default=-1)
        wanted: list[AnswerSpan] = []
        left: list[AnswerSpan] = []
        for span in spans:
            train = messages[span.index].train
            if train is None:
                train = self.train_on != "last_answer" or span.index == last
            (wanted if train else left).append(span)
        remarks += list_answer_remarks(messages, wanted)
        everything = self.train_on == "everything"
        if _weighs_in_vain(messages, everything):
            remarks.append("weight_unused")
        # Ranges outside of the answers: answers keep their own ends, even if everything is trained.
        rest = list_ranges_outside_answers(spans, len(text)) if everything else None
        weights = [messages[span.index].weight for span in wanted]
        return RenderedChat(text, wanted, weights, tuple(remarks), rest, left)

    def _find_answers(self, messages: list[Message], tools: Any) -> tuple[str, list[AnswerSpan]]:
        """Render the turns and find their answers.

        Raises:
            RowProblem: the template refuses them in every spelling, or leaves out an answer.
        """
        try:
            return self._find_as_spelt(messages, tools)
        except RowProblem as problem:
            return self._retry_without_system(messages, tools, problem)

    def _find_as_spelt(self, messages: list[Message], tools: Any) -> tuple[str, list[AnswerSpan]]:
        turns = self._spelling.spell_turns(messages)
        try:
            text, spans = self._turns.find_answers(turns, tools)
        except RowProblem as problem:
            # Nearly all templates take the first spelling, so the others are tried only after a failure.
            for other in list_turn_spellings(turns):
                with contextlib.suppress(RowProblem):
                    return self._turns.find_answers(other, tools)
            raise problem
        # The template wants the arguments of calls as text: given values, it has written Python.
        if writes_python_arguments(turns, text):
            text, spans = self._turns.find_answers(spell_arguments_as_text(turns) or turns, tools)
        return text, spans

    def _retry_without_system(
        self, messages: list[Message], tools: Any, problem: RowProblem
    ) -> tuple[str, list[AnswerSpan]]:
        """Try again without empty system turns, in case the template refuses only those.

        Raises:
            RowProblem: it refuses more than that.
        """
        kept = [index for index, message in enumerate(messages) if message.role != "system"]
        others = [messages[index] for index in kept]
        if len(others) == len(messages):
            raise problem
        try:
            text, spans = self._find_as_spelt(others, tools)
        except RowProblem:
            raise problem from None
        if any((m.content or "").strip() for m in messages if m.role == "system"):
            raise RowProblem(N_("the chat template refuses system messages"), problem.detail)
        return text, [replace(span, index=kept[span.index]) for span in spans]

    def _list_turn_remarks(
        self, chat: Chat, messages: Sequence[Message], text: str, spans: Sequence[AnswerSpan]
    ) -> list[str]:
        """List what the template left out of tools and system messages, or what the run changed in them."""
        found = []
        if chat.tools and not (self._spelling.writes_tools and are_tools_shown(chat.tools, text, spans)):
            found.append("tools_left_out")
        # The beginning is enough, and templates may change white space further on.
        if any(m.role == "system" and (m.content or "").strip()[:200] not in text for m in messages):
            found.append("system_left_out")
        if self.system_turns != "keep" and any(m.role == "system" for m in chat.messages):
            found.append("system_dropped" if self.system_turns == "drop" else "system_moved")
        return found

    def _mask_chat(self, rendered: RenderedChat, tokens: PlacedTokens) -> EncodedExample:
        ids = tokens.ids
        # Some tokens stand for no character of the text, such as a BOS that the tokenizer adds: everything
        # has them too.
        trained = np.full(len(ids), rendered.everything is not None)
        counts = np.ones(len(ids), dtype=np.float32)
        for span in rendered.left if rendered.everything is not None else ():
            inside = tokens.find_tokens_between(span.start, span.end)
            if inside is not None:
                trained[inside[0] : inside[1]] = False
        for start, stop in rendered.everything or ():
            beside = tokens.find_tokens_between(start, stop)
            if beside is not None:
                trained[beside[0] : beside[1]] = True
        answers, stops = [], []
        for span, weight in zip(rendered.spans, rendered.weights, strict=True):
            # An empty answer has no tokens.
            inside = tokens.find_tokens_between(span.start, span.end)
            if inside is None:
                continue
            first, end = inside
            answers.append((first, end, span.index))
            stops.append(bool(span.stop))
            if span.stop and span.stop not in self.stop_tokens:
                # The last token of the answer, which the text of the stop became in this very place.
                self.stop_tokens[span.stop] = int(ids[end - 1])
            trained[first:end] = True
            counts[first:end] = weight
        bos = self._bos
        # A template that writes BOS, and a tokenizer that adds it too.
        doubled = bos is not None and len(ids) > 1 and ids[0] == bos and ids[1] == bos
        return EncodedExample(
            ids,
            make_next_token_labels(ids, trained),
            # Labels are aligned with positions: that of a position is its next token.
            weights=None if (counts[trained] == 1).all() else np.append(counts[1:], np.float32(1)),
            answers=answers,
            stops=stops,
            doubled_bos=bool(doubled),
            remarks=rendered.remarks,
        )


def _weighs_in_vain(messages: Sequence[Message], everything: bool) -> bool:
    """Return whether a turn that is no answer has a weight, which would change nothing."""
    # 0 is no more than what holds in any case, where only answers are trained.
    return any(
        message.role != "assistant" and (message.weight != 1.0 or (everything and message.train is False))
        for message in messages
    )
