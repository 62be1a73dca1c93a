"""From a chat or a text to an example: its token ids, and labels where an answer is to be learnt.

The whole rendered chat is tokenised once, as it will be at inference, and the answers' characters are carried
over to tokens by their offsets. A token that straddles the edge of an answer is trained if any of it belongs
to the answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tui_tuner.data.chat.template import adds_bos, end_tokens, render
from tui_tuner.data.chat.tokens import BatchTokenizer, Placed
from tui_tuner.data.chat.turns import Span, Turns
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import IGNORE, Chat, Example, Message, next_token_labels, next_token_mask
from tui_tuner.locales import N_

# A chat of this many characters is no chat; tokenising it whole would take gigabytes.
MAX_CHAT = 4_000_000
# Longer documents are tokenised in parts of this size, cut in front of white space.
TEXT_PART = 500_000


@dataclass
class Encoded(Example):
    """An example of next-token prediction, with what is known of its answers.

    Args:
        answers: Token range and message of each answer that is trained.
        stops: For each of them, whether its stop token is in it.
        left_out: What the template did not write: tools, or a system message.
    """

    answers: list[tuple[int, int, int]] = field(default_factory=list)
    stops: list[bool] = field(default_factory=list)
    doubled_bos: bool = False
    left_out: str = ""

    @property
    def trained(self) -> np.ndarray:
        """bool [length]: the tokens that are to be learnt."""
        return next_token_mask(self.labels)


@dataclass
class Rendered:
    """The text of a chat, its answers that are trained, and what the template did not write."""

    text: str
    spans: list[Span]
    left_out: str = ""


class ChatEncoder:
    """Encodes chats with one tokenizer. Its template must be chosen before (`template.choose_template`)."""

    def __init__(
        self,
        tokenizer: Any,
        train_on: Literal["all_answers", "last_answer", "everything"] = "all_answers",
        system: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.train_on = train_on
        self.system = system
        self.tokens = BatchTokenizer(tokenizer)
        self._bos = getattr(tokenizer, "bos_token_id", None)
        self.stop_tokens: dict[str, int] = {}
        self._turns = Turns(
            lambda messages, tools, generation: render(tokenizer, messages, tools, generation),
            end_tokens(tokenizer),
        )

    def messages(self, chat: Chat) -> list[Message]:
        """The chat's turns, with the run's system message where it has none."""
        if self.system and (not chat.messages or chat.messages[0].role != "system"):
            return [Message("system", self.system), *chat.messages]
        return chat.messages

    def text(self, chat: Chat, generation: bool = False) -> str:
        """The rendered chat.

        Raises:
            RowProblem: the template refuses it.
        """
        plain = [message.plain() for message in self.messages(chat)]
        return render(self.tokenizer, plain, chat.tools, generation)

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
        edges = [[edge for span in one.spans for edge in (span.start, span.end)] for one in work]
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
        size = sum(len(message.content or "") for message in messages)
        if size > MAX_CHAT:
            raise RowProblem(N_("the chat is longer than {most:,} characters", most=MAX_CHAT), f"{size:,}")
        text, spans = self._turns.find([message.plain() for message in messages], chat.tools)
        _check_calls(messages, text)
        last = max((span.index for span in spans), default=-1)
        wanted = []
        for span in spans:
            train = messages[span.index].train
            if train is None:
                train = self.train_on == "all_answers" or span.index == last
            if train:
                wanted.append(span)
        return Rendered(text, wanted, _left_out(messages, chat.tools, text))

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
        bos = self._bos
        doubled = bos is not None and len(ids) > 1 and ids[0] == bos and ids[1] == bos
        return Encoded(
            ids,
            next_token_labels(ids, trained),
            answers=answers,
            stops=stops,
            doubled_bos=bool(doubled),
            left_out=rendered.left_out,
        )


def _check_calls(messages: Sequence[Message], text: str) -> None:
    """A template that does not know tool calls writes an empty answer in their place."""
    for message in messages:
        for call in message.tool_calls or ():
            if str(call["function"]["name"]) not in text:
                raise RowProblem(
                    N_("the chat template leaves out tool calls"), str(call["function"]["name"])[:60]
                )


def _left_out(messages: Sequence[Message], tools: list[Any] | None, text: str) -> str:
    """What of a chat a template passed over: `tools`, `system`, or nothing."""
    names = [
        str(tool["function"].get("name", "")) for tool in tools or () if isinstance(tool["function"], dict)
    ]
    if names and not any(name in text for name in names):
        return "tools"
    for message in messages:
        if message.role == "system" and (message.content or "").strip()[:200] not in text:
            return "system"
    return ""


class TextEncoder:
    """Encodes documents: BOS where the tokenizer puts one, EOS behind each document, all of it learnt.

    A document longer than `max_length` becomes several sequences; the first token of each has nothing in
    front of it, so it cannot be predicted and is not trained.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.tokens = BatchTokenizer(tokenizer)
        self.max_length = max_length
        self._front = [tokenizer.bos_token_id] if adds_bos(tokenizer) else []
        eos = getattr(tokenizer, "eos_token_id", None)
        self._back = [eos] if eos is not None else []

    def encode_all(self, texts: Sequence[str]) -> list[list[Encoded]]:
        """The sequences of each document, in order."""
        return self.pieces(self.tokenised(texts))

    def tokenised(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """The first half of `encode_all`, which may run in another thread: the ids of each document."""
        parts = [_parts(text) for text in texts]
        found = iter(self.tokens.ids([part for own in parts for part in own]))
        return [
            next(found) if len(own) == 1 else [i for _unused in own for i in next(found)] for own in parts
        ]

    def pieces(self, documents: Sequence[Sequence[int]]) -> list[list[Encoded]]:
        """The second half: the sequences of each document."""
        return [self._pieces([*self._front, *ids, *self._back]) for ids in documents]

    def _pieces(self, ids: list[int]) -> list[Encoded]:
        whole = np.asarray(ids, dtype=np.int32)
        found = []
        cuts = [*range(0, len(whole), self.max_length), len(whole)]
        if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
            cuts[-2] -= 1  # a last piece of one token would have nothing to learn
        for start, end in itertools.pairwise(cuts):
            own = whole[start:end]
            labels = np.append(own[1:], np.int32(IGNORE))
            stops = [end == len(whole)]
            found.append(Encoded(own, labels, answers=[(1, len(own), 0)], stops=stops))
        return found


def _parts(text: str) -> list[str]:
    """A document in parts of about `TEXT_PART` characters; nearly always the document itself."""
    found = []
    start = 0
    while len(text) - start > TEXT_PART:
        end = start + TEXT_PART
        edge = max(text.rfind(space, start + 1, end) for space in "\n \t")
        end = edge if edge > start else end
        found.append(text[start:end])
        start = end
    return [*found, text[start:]]
