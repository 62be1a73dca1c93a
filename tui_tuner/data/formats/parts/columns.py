"""Names that columns go by in public data sets, and what a sample of rows says about each column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tui_tuner.data.formats.parts.values import is_nan
from tui_tuner.data.nesting import MAX_DEPTH, is_deeper

# Roles that several formats have; the names of one that a single format has are in that format's module.
# Names are compared in lower case, with spaces and dashes as underscores.
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
        "dialogues", "items",
    ),
    "text": (
        "text", "review", "sentence", "document", "body", "article", "comment", "tweet", "message",
        "content", "passage", "raw_text", "title", "description",
    ),
}  # fmt: skip

LABEL_NAMES = (
    "label", "labels", "sentiment", "class", "category", "rating", "stars", "intent", "emotion", "topic",
    "target", "score", "label_text", "polarity", "is_duplicate", "similarity", "gold_label", "type",
)  # fmt: skip

# Roles that rows may have or lack, so the first rows of a file may not show them.
SELDOM = ("input", "system", "history", "tools")


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
    def written(self) -> bool:
        """Whether most filled rows hold what can be written out: text, numbers, booleans, in any mixture.

        Enough where the name says what the column is: answers are numbers at times.
        """
        return 2 * sum(self.kinds.get(kind, 0) for kind in ("text", "number", "bool")) > self.filled

    @property
    def worded(self) -> bool:
        """The same, and there are words among them: what asks is never all numbers."""
        return self.written and 2 * self.kinds.get("text", 0) >= self.filled

    @property
    def mean_length(self) -> float:
        return self.characters / self.filled if self.filled else 0.0


class Sample:
    """The first rows of a file, seen column by column. `where` names the file in messages."""

    def __init__(self, rows: Sequence[dict[str, Any]], where: str = "") -> None:
        self.rows = list(rows)
        self.where = where
        self.columns: dict[str, Column] = {}
        for row in self.rows:
            for name, value in row.items():
                column = self.columns.get(str(name))
                if column is None:
                    column = self.columns[str(name)] = Column(str(name))
                _look(column, value)
        self._called: dict[
            str, list[Column]
        ] = {}  # by the name that is compared: there may be 20,000 of them
        for column in self.columns.values():
            self._called.setdefault(column.plain, []).append(column)

    def named(self, role: str | tuple[str, ...], *kinds: str) -> list[Column]:
        """Filled columns of a role, holding these kinds if given; best known name first.

        Args:
            role: A key of `NAMES`, or names that a format knows itself.
        """
        names = NAMES[role] if isinstance(role, str) else role
        return [
            column
            for name in dict.fromkeys(names)
            for column in self._called.get(name, ())
            if column.filled and (not kinds or column.mostly(*kinds))
        ]

    def of_kind(self, *kinds: str) -> list[Column]:
        """Filled columns that mostly hold these kinds of value, in their order."""
        return [column for column in self.columns.values() if column.mostly(*kinds)]

    def get(self, name: str) -> Column | None:
        """The column of this compared name, if it is filled."""
        return next((c for c in self._called.get(name, ()) if c.filled), None)

    def optional(self, *roles: str, taken: Sequence[str] = ()) -> dict[str, str]:
        """Roles (keys of `NAMES`) that a row may lack: the column for each that is there and not `taken`."""
        found = {}
        for role in roles:
            candidates = [column for column in self.named(role) if column.name not in taken]
            if not candidates and role in SELDOM:  # empty in the sample, perhaps not in the rows after it
                columns = (self.empty(name) for name in NAMES[role])
                candidates = [column for column in columns if column and column.name not in taken]
            if candidates:
                found[role] = candidates[0].name
        return found

    def empty(self, name: str) -> Column | None:
        """The column of this compared name, if no row of the sample fills it."""
        return next((c for c in self._called.get(name, ()) if not c.filled), None)


def _look(column: Column, value: Any) -> None:
    kind = kind_of(value)
    if kind == "none" or value == "" or value == [] or value == {}:
        return
    column.filled += 1
    column.kinds[kind] = column.kinds.get(kind, 0) + 1
    text = value if isinstance(value, str) else _beginning(value)
    column.characters += len(text)
    if len(column.values) < 200:
        column.values.add(text[:200])
    if column.example is None:
        column.example = value


def _beginning(value: Any) -> str:
    try:
        return str(value)[:200]
    except RecursionError:  # nested too deeply to be written
        return ""


def kind_of(value: Any) -> str:
    """text, number, bool, object, none; a list by what it holds: texts, numbers, objects, lists, or list."""
    if isinstance(value, list | tuple):
        inner = {_kind_of_one(item) for item in value[:20]}
        kind = inner.pop() if len(inner) == 1 else ""
        return {"text": "texts", "number": "numbers", "object": "objects", "list": "lists"}.get(kind, "list")
    return _kind_of_one(value)


def _kind_of_one(value: Any) -> str:
    """The kind of a value, a list being `list` whatever it holds: rows may be nested as deep as they like."""
    if value is None or is_nan(value):
        return "none"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, dict):
        return "object"
    return "list" if isinstance(value, list | tuple) else "other"


def loads_if_json(value: Any) -> Any:
    """A text that is a JSON list or object, as that; anything else unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            loaded = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        opened = value.count("[") + value.count("{")
        return value if opened > MAX_DEPTH and is_deeper([loaded], MAX_DEPTH) else loaded
    return value
