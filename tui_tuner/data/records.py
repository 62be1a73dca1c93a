"""One internal type for each thing a row can be, and where a row came from.

Readers give `Row`s (plain values and an `Origin`), `formats` turns each into one of the records below, and
nothing after that looks at column names again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tui_tuner.locales import _
from tui_tuner.text import one_line

ROLES = ("system", "user", "assistant", "tool")
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")  # where public data and templates keep it


@dataclass(frozen=True)
class Origin:
    """Where a row came from. `row` counts from 1 inside its file; `line` is given where a file has lines.

    Args:
        name: What the file itself calls the row, such as a question's id; empty where it does not.
    """

    file: str
    row: int
    line: int | None = None
    name: str = ""

    def __str__(self) -> str:
        if self.line:
            return f"{one_line(self.file)}:{self.line}"
        if self.name:
            return _(
                "{file} row {row} ({name})",
                file=one_line(self.file),
                row=self.row,
                name=one_line(self.name, 60),
            )
        return _("{file} row {row}", file=one_line(self.file), row=self.row)


@dataclass
class Row:
    """A row as a reader gives it: plain columns. `problem` says why it cannot be used, if it cannot.

    Args:
        place: (offset, size) [bytes] of the JSON object that it is in its file, where it can be read again
            from there.
    """

    origin: Origin
    values: dict[str, Any]
    problem: str = ""
    place: tuple[int, int] | None = field(default=None, compare=False)


@dataclass
class Message:
    """One turn.

    Args:
        train: None means: as the run decides (`data.train_on`).
        reasoning: What the model thought before its answer, where the row keeps it apart from the content.
        reasoning_key: The key that the row keeps it under, one of `REASONING_KEYS`.
    """

    role: str
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    train: bool | None = None
    reasoning: str | None = None
    reasoning_key: str = REASONING_KEYS[0]

    def plain(self) -> dict[str, Any]:
        """The turn as a row of messages would spell it; what a chat template gets."""
        found: dict[str, Any] = {"role": self.role, "content": self.content if self.content else ""}
        if self.reasoning:
            found[self.reasoning_key] = self.reasoning
        if self.tool_calls:
            found["tool_calls"] = self.tool_calls
        if self.name:
            found["name"] = self.name
        if self.tool_call_id:
            found["tool_call_id"] = self.tool_call_id
        return found


@dataclass
class Chat:
    """Turns, and the tools the model may call. Alpaca, ShareGPT and so on become this."""

    messages: list[Message]
    tools: list[Any] | None = None
    kind: Literal["chat"] = "chat"


@dataclass
class Text:
    """A document, every token of which is learnt."""

    text: str
    kind: Literal["text"] = "text"


@dataclass
class Preference:
    """A prompt with a better and a worse answer."""

    messages: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    tools: list[Any] | None = None
    kind: Literal["preference"] = "preference"


@dataclass
class Judged:
    """A chat whose last answer is good or bad (KTO)."""

    messages: list[Message]
    good: bool
    tools: list[Any] | None = None
    kind: Literal["judged"] = "judged"


@dataclass
class Labelled:
    """A text, or a pair of texts, and its class, its classes, or a number. `label` None means unlabelled."""

    text: str
    label: str | int | float | list[str | int | float] | None
    pair: str | None = None
    kind: Literal["labelled"] = "labelled"


@dataclass
class Tagged:
    """Tokens and one tag for each."""

    tokens: list[str]
    tags: list[str | int]
    kind: Literal["tagged"] = "tagged"


@dataclass
class Question:
    """Extractive question answering; answers are (text, start in characters of the context).

    Args:
        answers: All that are right; without any, the context does not answer the question.
        id: What its data set calls it.
        remarks: What was mended in it, for the ledger.
    """

    question: str
    context: str
    answers: list[tuple[str, int]] = field(default_factory=list)
    id: str = ""
    remarks: list[str] = field(default_factory=list)
    kind: Literal["question"] = "question"


Record = Chat | Text | Preference | Judged | Labelled | Tagged | Question


def texts_of(record: Record) -> list[str]:
    """Every piece of text a person wrote in a record, in reading order."""
    if isinstance(record, Text):
        return [record.text]
    if isinstance(record, Labelled):
        return [record.text] if record.pair is None else [record.text, record.pair]
    if isinstance(record, Tagged):
        return [" ".join(record.tokens)]
    if isinstance(record, Question):
        return [record.question, record.context, *(answer for answer, _unused in record.answers)]
    messages = list(record.messages)
    if isinstance(record, Preference):
        messages += record.chosen + record.rejected
    return [text for message in messages for text in (message.reasoning, message.content) if text]


def answers_of(record: Record) -> list[str]:
    """What a model is taught to write: the answers of a chat; empty where a record has none."""
    if isinstance(record, Preference):
        messages = record.chosen
    elif isinstance(record, Chat | Judged):
        messages = record.messages
    else:
        return []
    return [message.content or "" for message in messages if message.role == "assistant"]


IGNORE = -100  # the label of a position at which nothing is learnt; what PyTorch's cross-entropy ignores


@dataclass
class Example:
    """One training sequence. A row may give several.

    Args:
        ids: int32 [length]: the tokens that the model reads.
        labels: int32 [length]: what it is to predict at each position, an id or a class; `IGNORE` where
            nothing is learnt. They are aligned with positions: for next-token prediction, labels[i] is
            ids[i + 1].
        columns: Values of the columns that the task declares, such as a label, a group or a weight.
    """

    ids: np.ndarray
    labels: np.ndarray
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def trained_tokens(self) -> int:
        """Positions with a label."""
        return int(np.count_nonzero(self.labels != IGNORE))


def next_token_labels(ids: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Labels for next-token prediction, int32 [length].

    Args:
        trained: bool [length]: which tokens are to be learnt. The first one has nothing before it that could
            predict it, so its mark has no effect.
    """
    labels = np.full(len(ids), IGNORE, dtype=np.int32)
    labels[:-1][trained[1:]] = ids[1:][trained[1:]]
    return labels


def next_token_mask(labels: np.ndarray) -> np.ndarray:
    """bool [length]: the tokens that next-token labels teach; the inverse of `next_token_labels`."""
    trained = np.zeros(len(labels), dtype=bool)
    trained[1:] = labels[:-1] != IGNORE
    return trained
