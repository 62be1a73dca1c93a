"""A turn in each row: rows that follow each other are a chat."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tui_tuner.config.advice import advise, setting
from tui_tuner.data.formats.base import Ambiguous, Match
from tui_tuner.data.formats.messages import Messages
from tui_tuner.data.formats.parts.columns import LABEL_NAMES, Column, Sample
from tui_tuner.data.formats.parts.message import CONTENT_KEYS, ROLE_KEYS, SPOKEN, unused_keys
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

CONVERSATION_NAMES = (
    "conversation_id", "conversationid", "conv_id", "dialog_id", "dialogue_id", "chat_id", "session_id",
    "thread_id", "conversation", "dialog", "dialogue", "chat", "session", "thread",
)  # fmt: skip
PARENT_NAMES = ("parent_id", "parent", "parent_message_id")
JOINED = "turns"  # the column of the joined row


class Flat(Messages):
    """Rows are joined before they are read: `join` and `goes_on` are for `data.reading`."""

    name = "turns"
    needed: tuple[str, ...] = ("role", "content")
    more: tuple[str, ...] = ("conversation",)
    rank = 25
    joins = True

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        roles = [column for column in sample.named(ROLE_KEYS, "text") if _speak(column)]
        contents = [column for column in sample.named(CONTENT_KEYS) if column not in roles]
        if not roles or not contents:
            return None
        found = {"role": roles[0].name, "content": contents[0].name}
        if any(column.plain in PARENT_NAMES for column in sample.columns.values()):
            raise _of_tree(sample, contents[0])
        chats = [column for column in sample.named(CONVERSATION_NAMES) if column.mostly("text", "number")]
        if chats and _comes_again(chats[0], sample):
            found["conversation"] = chats[0].name
            why = _("a turn in each row, and {name} says of which chat", name=one_line(chats[0].name, 40))
            return Match(found, 0.95, why)
        if not asked and sample.named(LABEL_NAMES):
            return None
        if not asked:
            raise _one_chat(sample)
        return Match(found, 0.9, _("a turn in each row; a system message begins a new chat"))

    def goes_on(self, before: Values, values: Values, columns: Columns) -> bool:
        """Whether a row belongs to the chat of the row before it."""
        if "conversation" in columns:
            name = columns["conversation"]
            return bool(before.get(name) == values.get(name))
        return str(values.get(columns["role"])).strip().lower() not in ("system", "developer")

    def join(self, rows: Sequence[Values], columns: Columns) -> Values:
        """The rows of one chat as one row."""
        role, content, chat = columns["role"], columns["content"], columns.get("conversation")
        turns: list[dict[str, Any]] = []
        for values in rows:
            turn = {"role": values.get(role), "content": values.get(content)}
            others = {key: value for key, value in values.items() if key not in (role, content, chat)}
            turns.append({**others, **turn})
        return {JOINED: turns}

    def convert(self, values: Values, columns: Columns) -> Any:
        return super().convert(values, {"messages": JOINED})

    def leftovers(self, values: Values, columns: Columns) -> set[tuple[str, str]]:
        # of a joined row it is the first one's: each of the others is asked about by itself
        turn = values[JOINED][0] if JOINED in values else self.join([values], columns)[JOINED][0]
        return {("column", key) for key in unused_keys(turn)}

    def fits_told(self, told: Columns, sample: Sample) -> bool:
        return set(self.needed) <= set(told)


def _speak(column: Column) -> bool:
    """Whether a column names who speaks, and nothing else."""
    return all(value.strip().lower() in SPOKEN for value in column.values)


def _comes_again(column: Column, sample: Sample) -> bool:
    """Whether rows that follow each other share a value."""
    values = [row.get(column.name) for row in sample.rows]
    return any(one is not None and one == other for one, other in itertools.pairwise(values))


def _one_chat(sample: Sample) -> Ambiguous:
    return Ambiguous(
        _("each row is one turn, and no column says which chat it belongs to."),
        where=sample.where,
        hint=advise(
            N_(
                "If the file is one chat, or each of its chats begins with a system message: {command}. "
                "Otherwise give each row the number of its chat in a column conversation_id.",
                command=setting({"data.format": "turns"}),
            )
        ),
        field="data.format",
    )


def _of_tree(sample: Sample, content: Column) -> DataError:
    return DataError(
        _("each row is one message of a tree: several answers to the same message are no chat."),
        where=sample.where,
        hint=advise(
            N_(
                "Put each path from a first message to a last one into a row with messages; or learn the "
                "texts alone: {command}.",
                command=setting({"task": "pretraining", "data.columns": {"text": content.name}}),
            )
        ),
        field="task",
    )


FORMATS = (Flat(),)
