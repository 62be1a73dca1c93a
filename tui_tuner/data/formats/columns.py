"""Names that columns go by in public data sets, and what a sample of rows says about each column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

# One role each; names are compared in lower case, with spaces and dashes as underscores.
NAMES: dict[str, tuple[str, ...]] = {
    "prompt": (
        "prompt", "question", "query", "instruction", "problem", "request", "user", "human", "user_prompt",
        "user_input", "input_text", "input",
    ),
    "response": (
        "response", "answer", "output", "completion", "reply", "solution", "assistant", "bot", "model_output",
        "output_text", "assistant_response",
    ),
    "input": ("input", "context"),
    "system": ("system", "system_prompt", "system_message"),
    "history": ("history", "conversation_history"),
    "tools": ("tools", "functions", "tool_list"),
    "messages": (
        "messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns", "dialogs",
    ),
    "chosen": ("chosen", "chosen_response", "preferred", "response_chosen", "better", "accepted"),
    "rejected": ("rejected", "rejected_response", "dispreferred", "response_rejected", "worse", "reject"),
    "good": ("kto_tag", "label", "is_good", "desirable", "thumbs_up", "score"),
    "text": (
        "text", "review", "sentence", "document", "body", "article", "comment", "tweet", "message",
        "content", "passage", "raw_text", "title", "description",
    ),
    "label": (
        "label", "labels", "sentiment", "class", "category", "rating", "stars", "intent", "emotion", "topic",
        "target", "score", "label_text", "polarity", "is_duplicate", "similarity", "gold_label", "type",
    ),
    "tokens": ("tokens", "words"),
    "tags": ("ner_tags", "tags", "pos_tags", "labels", "ner", "ner_labels", "tag", "upos"),
    "question": ("question", "query"),
    "context": ("context", "passage", "paragraph"),
    "answers": ("answers", "answer"),
}  # fmt: skip

PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text_a", "text_b"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("string1", "string2"),
    ("anchor", "positive"),
)


# Names that say too little alone: they are prompt and response only side by side.
PROMPT_PAIRS = (
    ("content", "summary"),
    ("document", "summary"),
    ("text", "summary"),
    ("dialogue", "summary"),
    ("article", "highlights"),
    ("article", "summary"),
    ("source", "target"),
    ("src", "tgt"),
    ("inputs", "targets"),
    ("input", "target"),
    ("questions", "answers"),
    ("text", "response"),
    ("content", "response"),
)


def plain_name(name: str) -> str:
    """A column's name as it is compared."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


@dataclass
class Column:
    """What the sample says of one column. `kinds` counts rows by kind."""

    name: str
    kinds: dict[str, int] = field(default_factory=dict)
    filled: int = 0
    characters: int = 0
    values: set[str] = field(default_factory=set)
    example: Any = None

    @property
    def plain(self) -> str:
        """The name as it is compared."""
        return plain_name(self.name)

    def mostly(self, *kinds: str) -> bool:
        """Whether at least 90 % of the filled rows hold one of these kinds."""
        return bool(self.filled) and sum(self.kinds.get(kind, 0) for kind in kinds) >= 0.9 * self.filled

    @property
    def mean_length(self) -> float:
        return self.characters / self.filled if self.filled else 0.0


class Sample:
    """The first rows of a file, seen column by column."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = list(rows)
        self.columns: dict[str, Column] = {}
        for row in self.rows:
            for name, value in row.items():
                _look(self.columns.setdefault(str(name), Column(str(name))), value)

    def named(self, role: str, *kinds: str) -> list[Column]:
        """Filled columns whose name is one of the role's, holding these kinds if given; best known first."""
        names = NAMES[role]
        found = [
            column
            for column in self.columns.values()
            if column.plain in names and column.filled and (not kinds or column.mostly(*kinds))
        ]
        return sorted(found, key=lambda column: names.index(column.plain))

    def of_kind(self, *kinds: str) -> list[Column]:
        """Filled columns that mostly hold these kinds of value, in their order."""
        return [column for column in self.columns.values() if column.mostly(*kinds)]

    def get(self, name: str) -> Column | None:
        """The column of this compared name, if it is filled."""
        return next((c for c in self.columns.values() if c.plain == name and c.filled), None)

    def empty(self, name: str) -> Column | None:
        """The column of this compared name, if no row of the sample fills it."""
        return next((c for c in self.columns.values() if c.plain == name and not c.filled), None)


def _look(column: Column, value: Any) -> None:
    kind = kind_of(value)
    if kind == "none" or value == "" or value == [] or value == {}:
        return
    column.filled += 1
    column.kinds[kind] = column.kinds.get(kind, 0) + 1
    text = value if isinstance(value, str) else str(value)[:200]
    column.characters += len(text)
    if len(column.values) < 200:
        column.values.add(text[:200])
    if column.example is None:
        column.example = value


def kind_of(value: Any) -> str:
    """text, number, bool, object, none; a list by what it holds: texts, numbers, objects, lists, or list."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list | tuple):
        inner = {kind_of(item) for item in value[:20]}
        if len(inner) == 1:
            kind = inner.pop()
            return {"text": "texts", "number": "numbers", "object": "objects", "list": "lists"}.get(
                kind, "lists" if kind in ("texts", "numbers", "objects", "lists") else "list"
            )
        return "list"
    return "other"


def loads_if_json(value: Any) -> Any:
    """A text that is a JSON list or object, as that; anything else unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value
