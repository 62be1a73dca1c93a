"""Name the columns of public data sets, and describe the columns of a sample of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tui_tuner.data.formats.parts.values import is_nan
from tui_tuner.data.nesting import MAX_DEPTH, is_nested_deeper

# Names for roles that several formats have; those of a single format are in its module. Names are compared in
# lower case, with spaces and dashes as underscores.
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

# Optional roles, which the first rows of a file may not show.
SELDOM = ("input", "system", "history", "tools")


def normalise_column_name(name: str) -> str:
    """Normalise a column's name for comparison."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


@dataclass
class Column:
    """Facts about one column in the sample. `kinds` counts rows by kind of value."""

    name: str
    kinds: dict[str, int] = field(default_factory=dict)
    filled: int = 0
    characters: int = 0
    values: set[str] = field(default_factory=set)
    example: Any = None

    @property
    def normalised_name(self) -> str:
        """The normalised name."""
        return normalise_column_name(self.name)

    def is_mostly(self, *kinds: str) -> bool:
        """Return whether at least 90 % of the filled rows hold one of these kinds."""
        return bool(self.filled) and sum(self.kinds.get(kind, 0) for kind in kinds) >= 0.9 * self.filled

    @property
    def is_written(self) -> bool:
        """Return whether most filled rows hold text, numbers or booleans, in any mixture."""
        # Enough for a column with a clear name: some answers are numbers.
        return 2 * sum(self.kinds.get(kind, 0) for kind in ("text", "number", "bool")) > self.filled

    @property
    def is_worded(self) -> bool:
        """Return whether it is `is_written` and at least half of it is text: questions are never all
        numbers.
        """
        return self.is_written and 2 * self.kinds.get("text", 0) >= self.filled

    @property
    def mean_length(self) -> float:
        return self.characters / self.filled if self.filled else 0.0


class ColumnSample:
    """The first rows of a file, column by column. `where` names the file in messages."""

    def __init__(self, rows: Sequence[dict[str, Any]], where: str = "") -> None:
        self.rows = list(rows)
        self.where = where
        self.columns: dict[str, Column] = {}
        for row in self.rows:
            for name, value in row.items():
                column = self.columns.get(str(name))
                if column is None:
                    column = self.columns[str(name)] = Column(str(name))
                _add_value(column, value)
        # By normalised name, because there may be 20,000 columns and each format looks for many names.
        self._called: dict[str, list[Column]] = {}
        for column in self.columns.values():
            self._called.setdefault(column.normalised_name, []).append(column)

    def find_named(self, role: str | tuple[str, ...], *kinds: str) -> list[Column]:
        """List filled columns of a role, with these kinds if given; the best known name comes first.

        Args:
            role: A key of `NAMES`, or names of a single format.
        """
        names = NAMES[role] if isinstance(role, str) else role
        return [
            column
            for name in dict.fromkeys(names)
            for column in self._called.get(name, ())
            if column.filled and (not kinds or column.is_mostly(*kinds))
        ]

    def find_by_kind(self, *kinds: str) -> list[Column]:
        """List filled columns that mostly hold these kinds of values, in file order."""
        return [column for column in self.columns.values() if column.is_mostly(*kinds)]

    def get_filled(self, name: str) -> Column | None:
        """Return the column with this normalised name, if it is filled."""
        return next((c for c in self._called.get(name, ()) if c.filled), None)

    def find_optional(self, *roles: str, taken: Sequence[str] = ()) -> dict[str, str]:
        """Return the columns for optional roles (keys of `NAMES`) that are there and not `taken`."""
        found = {}
        for role in roles:
            candidates = [column for column in self.find_named(role) if column.name not in taken]
            # A column that is empty in the sample may be filled in later rows.
            if not candidates and role in SELDOM:
                columns = (self.get_empty(name) for name in NAMES[role])
                candidates = [column for column in columns if column and column.name not in taken]
            if candidates:
                found[role] = candidates[0].name
        return found

    def get_empty(self, name: str) -> Column | None:
        """Return the column with this normalised name, if it is empty in the whole sample."""
        return next((c for c in self._called.get(name, ()) if not c.filled), None)


def _add_value(column: Column, value: Any) -> None:
    kind = find_value_kind(value)
    if kind == "none" or value == "" or value == [] or value == {}:
        return
    column.filled += 1
    column.kinds[kind] = column.kinds.get(kind, 0) + 1
    text = value if isinstance(value, str) else _shorten_value(value)
    column.characters += len(text)
    if len(column.values) < 200:
        column.values.add(text[:200])
    if column.example is None:
        column.example = value


def _shorten_value(value: Any) -> str:
    try:
        return str(value)[:200]
    # A value that is nested too deeply cannot be written.
    except RecursionError:
        return ""


def find_value_kind(value: Any) -> str:
    """Return text, number, bool, object or none; for a list texts, numbers, objects, lists or list."""
    if isinstance(value, list | tuple):
        inner = {_kind_of_one(item) for item in value[:20]}
        kind = inner.pop() if len(inner) == 1 else ""
        return {"text": "texts", "number": "numbers", "object": "objects", "list": "lists"}.get(kind, "list")
    return _kind_of_one(value)


def _kind_of_one(value: Any) -> str:
    """Return the kind of a value; any list is `list`."""
    # What a list contains is not looked at again, because rows may be nested very deeply.
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


def parse_if_json(value: Any) -> Any:
    """Parse a text that is a JSON list or object; anything else is returned unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            loaded = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        # Counting is cheap, and spares nearly all values the walk through their levels.
        opened = value.count("[") + value.count("{")
        return value if opened > MAX_DEPTH and is_nested_deeper([loaded], MAX_DEPTH) else loaded
    return value
