"""Define one type for each kind of row, and for the place that a row came from.

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
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")  # as in public data and templates


@dataclass(frozen=True)
class Origin:
    """The place that a row came from. `row` counts from 1 in its file; `line` is set if the file has lines.

    Args:
        name: The name of the row in the file, such as a question's id; empty if it has none.
    """

    file: str
    row: int
    line: int | None = None
    name: str = ""

    def __str__(self) -> str:
        # file:line is the form that editors and terminals open with a click.
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
    """A row as a reader gives it: plain columns, or a `problem` if it cannot be used.

    Args:
        place: (offset, size) [bytes] of its JSON object in the file, if it can be read again from there.
    """

    origin: Origin
    values: dict[str, Any]
    problem: str = ""
    # Not compared: two rows with the same values are equal wherever they are.
    place: tuple[int, int] | None = field(default=None, compare=False)


@dataclass
class Message:
    """One turn.

    Args:
        train: Whether it is trained; None means that `data.train_on` decides.
        weight: What its losses count, relative to others; only trained answers have any use for it.
        reasoning: The reasoning before the answer, if the row has it apart from the content.
        reasoning_key: The key of the reasoning in the row, one of `REASONING_KEYS`.
    """

    role: str
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    train: bool | None = None
    weight: float = 1.0
    reasoning: str | None = None
    reasoning_key: str = REASONING_KEYS[0]

    def to_plain_turn(self) -> dict[str, Any]:
        """Return the turn as it would be written in a row of messages, for a chat template."""
        # Content is never None here: many templates add it to a text without checking.
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
    """Turns, and the tools that the model may call. Alpaca, ShareGPT and others become this.

    `weight` is what its losses count, relative to other rows (`data.loss_weight`).
    """

    messages: list[Message]
    tools: list[Any] | None = None
    weight: float = 1.0
    kind: Literal["chat"] = "chat"


@dataclass
class Text:
    """A document in which every token is trained; `weight` as for `Chat`."""

    text: str
    weight: float = 1.0
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
class JudgedChat:
    """A chat whose last answer is good or bad (KTO)."""

    messages: list[Message]
    good: bool
    tools: list[Any] | None = None
    kind: Literal["judged"] = "judged"


@dataclass
class LabelledText:
    """A text or a pair of texts with a class, several classes or a number; None if it is unlabelled."""

    text: str
    label: str | int | float | list[str | int | float] | None
    pair: str | None = None
    kind: Literal["labelled"] = "labelled"


@dataclass
class TaggedText:
    """Tokens and one tag for each."""

    tokens: list[str]
    tags: list[str | int]
    kind: Literal["tagged"] = "tagged"


@dataclass
class Question:
    """Extractive question answering; answers are (text, start in characters of the context).

    Args:
        answers: All right answers; if there are none, the context does not answer the question.
        id: Its name in the data set.
        remarks: What was corrected in it, for the ledger.
    """

    question: str
    context: str
    answers: list[tuple[str, int]] = field(default_factory=list)
    id: str = ""
    remarks: list[str] = field(default_factory=list)
    kind: Literal["question"] = "question"


Record = Chat | Text | Preference | JudgedChat | LabelledText | TaggedText | Question


def list_record_texts(record: Record) -> list[str]:
    """List every text in a record, in reading order."""
    if isinstance(record, Text):
        return [record.text]
    if isinstance(record, LabelledText):
        return [record.text] if record.pair is None else [record.text, record.pair]
    if isinstance(record, TaggedText):
        # Joined for cleaning and counting only; training keeps the tokens apart.
        return [" ".join(record.tokens)]
    if isinstance(record, Question):
        return [record.question, record.context, *(answer for answer, _unused in record.answers)]
    messages = list(record.messages)
    if isinstance(record, Preference):
        messages += record.chosen + record.rejected
    return [text for message in messages for text in (message.reasoning, message.content) if text]


def list_record_answers(record: Record) -> list[str]:
    """List the answers that a model learns to write; empty if a record has none."""
    if isinstance(record, Preference):
        messages = record.chosen
    elif isinstance(record, Chat | JudgedChat):
        messages = record.messages
    else:
        return []
    return [message.content or "" for message in messages if message.role == "assistant"]


IGNORE = -100  # the label of a position that is not trained; PyTorch's cross-entropy ignores it


@dataclass
class Example:
    """One training sequence. A row may give several.

    Args:
        ids: int32 [length]: the tokens that the model reads.
        labels: int32 [length]: the id or class to predict at each position; `IGNORE` if it is not trained.
            They are aligned with positions: for next-token prediction, labels[i] is ids[i + 1].
        columns: Values of the columns that the task declares, such as a label or a group.
        weights: float32 [length]: what the loss of each label counts, relative to others; None if all
            labels count alike. Values at positions without a label have no meaning.
    """

    ids: np.ndarray
    labels: np.ndarray
    columns: Mapping[str, Any] = field(default_factory=dict)
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def trained_tokens(self) -> int:
        """The number of positions with a label."""
        return int(np.count_nonzero(self.labels != IGNORE))

    def weigh_labels(self, weight: float) -> None:
        """Multiply the weights of all labels."""
        if weight != 1:
            ones = np.ones(len(self), dtype=np.float32)
            self.weights = np.float32(weight) * (ones if self.weights is None else self.weights)

    @property
    def label_weight(self) -> float:
        """The sum of the weights of all labels."""
        if self.weights is None:
            return float(self.trained_tokens)
        return float(self.weights[self.labels != IGNORE].sum(dtype=np.float64))


def make_next_token_labels(ids: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Make labels for next-token prediction, int32 [length].

    Args:
        trained: bool [length]: the tokens to train. Nothing before the first one could predict it, so its
            mark has no effect.
    """
    # Shifted once here, so that the losses of all tasks read labels in the same way.
    labels = np.full(len(ids), IGNORE, dtype=np.int32)
    labels[:-1][trained[1:]] = ids[1:][trained[1:]]
    return labels


def make_next_token_mask(labels: np.ndarray) -> np.ndarray:
    """Return the tokens that next-token labels train, bool [length]: `make_next_token_labels` reversed."""
    trained = np.zeros(len(labels), dtype=bool)
    trained[1:] = labels[:-1] != IGNORE
    return trained


def move_to_next_tokens(weights: np.ndarray | None) -> np.ndarray | None:
    """Move the weights of next-token labels to the tokens that they train, [length]."""
    return None if weights is None else np.append(np.float32(1), weights[:-1])
