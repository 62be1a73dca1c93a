"""From a chat or a text to an example: its token ids, and labels where an answer is to be learnt.

The whole rendered chat is tokenised once, as it will be at inference, and the answers' characters are carried
over to tokens by their offsets. A token that straddles the edge of an answer is trained if any of it belongs
to the answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from tui_tuner.config.schema import RunConfig
from tui_tuner.data.chat.marks import Turn
from tui_tuner.data.chat.remarks import beside, remarks_on_answers, tools_shown
from tui_tuner.data.chat.spelling import Spelling, arguments_as_text, other_spellings, writes_python
from tui_tuner.data.chat.stops import Stops
from tui_tuner.data.chat.template import render
from tui_tuner.data.chat.tokens import BatchTokenizer, Placed
from tui_tuner.data.chat.turns import Span, Turns
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Chat, Example, Message, next_token_labels, next_token_mask
from tui_tuner.locales import N_
from tui_tuner.models.generation import generation_ends

# A chat of this many characters is no chat; tokenising it whole would take gigabytes.
MAX_CHAT = 4_000_000


@dataclass
class Encoded(Example):
    """An example of next-token prediction, with what is known of its answers.

    Args:
        answers: Token range and message of each answer that is trained.
        stops: For each of them, whether its stop token is in it.
        remarks: What preflight counts, as in `remarks.REMARKS`.
    """

    answers: list[tuple[int, int, int]] = field(default_factory=list)
    stops: list[bool] = field(default_factory=list)
    doubled_bos: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def trained(self) -> np.ndarray:
        """bool [length]: the tokens that are to be learnt."""
        return next_token_mask(self.labels)


@dataclass
class Rendered:
    """The text of a chat, its answers that are trained, and remarks on them.

    `everything` lists the ranges of characters that are trained beside the answers.
    """

    text: str
    spans: list[Span]
    remarks: tuple[str, ...] = ()
    everything: list[tuple[int, int]] = field(default_factory=list)


class ChatEncoder:
    """Encodes chats with one tokenizer. Its template must be chosen before (`choose_template`).

    Args:
        ends: Texts of the tokens that the model's generation config stops at, beside the tokenizer's eos.
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
        self._spelling = Spelling(self._render)
        self._turns = Turns(self._render, Stops.of(tokenizer, ends))

    @classmethod
    def of(cls, config: RunConfig, tokenizer: Any) -> ChatEncoder:
        """The encoder of a run."""
        data = config.data
        ends = generation_ends(config.model, tokenizer)
        return cls(tokenizer, data.train_on, data.system, data.system_turns, ends)

    def _render(self, messages: Sequence[Turn], tools: Any, generation: bool) -> str:
        return render(self.tokenizer, messages, tools, generation)

    def messages(self, chat: Chat) -> list[Message]:
        """The chat's turns, with the run's system message where it has none, and system turns where the run
        wants them."""
        messages = chat.messages
        if self.system and (not messages or messages[0].role != "system"):
            messages = [Message("system", self.system), *messages]
        return messages if self.system_turns == "keep" else self._without_system(messages)

    def _without_system(self, messages: list[Message]) -> list[Message]:
        """The turns without system messages; their text in front of the first question, if that is wanted."""
        said = [(m.content or "").strip() for m in messages if m.role == "system"]
        said = [text for text in said if text]
        others = [message for message in messages if message.role != "system"]
        first = next((i for i, message in enumerate(others) if message.role == "user"), None)
        if said and self.system_turns == "first_user":
            if first is None:
                return [Message("user", "\n\n".join(said)), *others]
            asked = "\n\n".join([*said, others[first].content or ""])
            others[first] = replace(others[first], content=asked)
        return others

    def text(self, chat: Chat, generation: bool = False) -> str:
        """The rendered chat.

        Raises:
            RowProblem: the template refuses it.
        """
        return self._render(self._spelling.turns(self.messages(chat)), chat.tools, generation)

    def encode(self, chat: Chat) -> Encoded:
        """Token ids and mask of one chat.

        Raises:
            RowProblem: the template refuses it, or an answer cannot be found in it.
        """
        found = self.encode_all([chat])[0]
        if isinstance(found, RowProblem):
            raise found
        return found

    def encode_all(self, chats: Sequence[Chat]) -> list[Encoded | RowProblem]:
        """`encode` for many at once; a chat that cannot be encoded gives its problem in its place."""
        rendered = self.rendered(chats)
        return self.masked(rendered, self.tokenised(rendered))

    def rendered(self, chats: Sequence[Chat]) -> list[Rendered | RowProblem]:
        """The first third of `encode_all`: the text of each chat, and where its trained answers are."""
        found: list[Rendered | RowProblem] = []
        for chat in chats:
            try:
                found.append(self._rendered(chat))
            except RowProblem as problem:
                found.append(problem)
        return found

    def tokenised(self, rendered: Sequence[Rendered | RowProblem]) -> list[Any]:
        """The second third, which may run in another thread: encodings of those that have a text."""
        work = [one for one in rendered if isinstance(one, Rendered)]
        edges = [
            [edge for span in one.spans for edge in (span.start, span.end)]
            + [edge for both in one.everything for edge in both]
            for one in work
        ]
        return self.tokens.encoded([one.text for one in work], edges) if work else []

    def masked(
        self, rendered: Sequence[Rendered | RowProblem], found: list[Any]
    ) -> list[Encoded | RowProblem]:
        """The last third: ids and mask of each chat."""
        encodings = iter(found)
        return [
            one if isinstance(one, RowProblem) else self._masked(one, self.tokens.placed(next(encodings)))
            for one in rendered
        ]

    def _rendered(self, chat: Chat) -> Rendered:
        messages = self.messages(chat)
        size = sum(len(text) for m in messages for text in (m.content, m.reasoning) if text)
        if size > MAX_CHAT:
            raise RowProblem(N_("the chat is longer than {most:,} characters", most=MAX_CHAT), f"{size:,}")
        text, spans = self._found(messages, chat.tools)
        remarks = self._remarks_on_turns(chat, messages, text, spans)
        if spans and (added := spans[-1].added):
            end = spans[-1].end
            text = text[:end] + added + text[end:]
            spans[-1] = replace(spans[-1], end=end + len(added), stop=added.strip())
        last = max((span.index for span in spans), default=-1)
        wanted = []
        for span in spans:
            train = messages[span.index].train
            if train is None:
                train = self.train_on != "last_answer" or span.index == last
            if train:
                wanted.append(span)
        remarks += remarks_on_answers(messages, wanted)
        rest = beside(spans, len(text)) if self.train_on == "everything" else []
        return Rendered(text, wanted, tuple(remarks), rest)

    def _found(self, messages: list[Message], tools: Any) -> tuple[str, list[Span]]:
        """The template's text of the turns, and their answers.

        Raises:
            RowProblem: it refuses them, however they are spelt, or leaves out what is to be learnt.
        """
        try:
            return self._found_as_spelt(messages, tools)
        except RowProblem as problem:
            return self._without_refused(messages, tools, problem)

    def _found_as_spelt(self, messages: list[Message], tools: Any) -> tuple[str, list[Span]]:
        turns = self._spelling.turns(messages)
        try:
            text, spans = self._turns.find(turns, tools)
        except RowProblem as problem:
            for other in other_spellings(turns):
                with contextlib.suppress(RowProblem):
                    return self._turns.find(other, tools)
            raise problem
        if writes_python(turns, text):
            text, spans = self._turns.find(arguments_as_text(turns) or turns, tools)
        return text, spans

    def _without_refused(
        self, messages: list[Message], tools: Any, problem: RowProblem
    ) -> tuple[str, list[Span]]:
        """Without empty system turns, if it is these that the template refuses.

        Raises:
            RowProblem: it refuses more than that.
        """
        kept = [index for index, message in enumerate(messages) if message.role != "system"]
        others = [messages[index] for index in kept]
        if len(others) == len(messages):
            raise problem
        try:
            text, spans = self._found_as_spelt(others, tools)
        except RowProblem:
            raise problem from None
        if any((m.content or "").strip() for m in messages if m.role == "system"):
            raise RowProblem(N_("the chat template refuses system messages"), problem.detail)
        return text, [replace(span, index=kept[span.index]) for span in spans]

    def _remarks_on_turns(
        self, chat: Chat, messages: Sequence[Message], text: str, spans: Sequence[Span]
    ) -> list[str]:
        """What the template passed over of a chat's tools and system messages, or the run changed in them."""
        found = []
        if chat.tools and not (self._spelling.writes_tools and tools_shown(chat.tools, text, spans)):
            found.append("tools_left_out")
        if any(m.role == "system" and (m.content or "").strip()[:200] not in text for m in messages):
            found.append("system_left_out")
        if self.system_turns != "keep" and any(m.role == "system" for m in chat.messages):
            found.append("system_dropped" if self.system_turns == "drop" else "system_moved")
        return found

    def _masked(self, rendered: Rendered, tokens: Placed) -> Encoded:
        ids = tokens.ids
        trained = np.zeros(len(ids), dtype=bool)
        answers, stops = [], []
        for span in rendered.spans:
            inside = tokens.between(span.start, span.end)
            if inside is None:
                continue
            first, end = inside
            answers.append((first, end, span.index))
            stops.append(bool(span.stop))
            if span.stop and span.stop not in self.stop_tokens:
                self.stop_tokens[span.stop] = int(ids[end - 1])
            trained[first:end] = True
        for start, stop in rendered.everything:
            beside = tokens.between(start, stop)
            if beside is not None:
                trained[beside[0] : beside[1]] = True
        bos = self._bos
        doubled = bos is not None and len(ids) > 1 and ids[0] == bos and ids[1] == bos
        return Encoded(
            ids,
            next_token_labels(ids, trained),
            answers=answers,
            stops=stops,
            doubled_bos=bool(doubled),
            remarks=rendered.remarks,
        )
