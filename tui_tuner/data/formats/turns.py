"""Read a turn from each row: consecutive rows are a chat."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.data.formats.messages import Messages
from tui_tuner.data.formats.parts.columns import LABEL_NAMES, Column, ColumnSample
from tui_tuner.data.formats.parts.message import CONTENT_KEYS, ROLE_KEYS, SPOKEN, list_unused_keys
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.formats.record_format import AmbiguousColumns, FormatMatch
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

CONVERSATION_NAMES = (
    "conversation_id", "conversationid", "conv_id", "dialog_id", "dialogue_id", "chat_id", "session_id",
    "thread_id", "conversation", "dialog", "dialogue", "chat", "session", "thread",
)  # fmt: skip
PARENT_NAMES = ("parent_id", "parent", "parent_message_id")
JOINED = "turns"  # the column of the joined row


class FlatTurns(Messages):
    """One turn in each row. Rows are joined before conversion: `data.read_data` calls `join_rows`."""

    name = "turns"
    needed: tuple[str, ...] = ("role", "content")
    more: tuple[str, ...] = ("conversation",)
    rank = 25
    joins = True

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        roles = [column for column in sample.find_named(ROLE_KEYS, "text") if _holds_speakers(column)]
        contents = [column for column in sample.find_named(CONTENT_KEYS) if column not in roles]
        if not roles or not contents:
            return None
        found = {"role": roles[0].name, "content": contents[0].name}
        if any(column.normalised_name in PARENT_NAMES for column in sample.columns.values()):
            # With parents, consecutive rows need not follow each other in the chat.
            raise _tree_rows_error(sample, contents[0])
        chats = [
            column for column in sample.find_named(CONVERSATION_NAMES) if column.is_mostly("text", "number")
        ]
        if chats and _repeats_in_sequence(chats[0], sample):
            found["conversation"] = chats[0].name
            why = _("a turn in each row, and {name} identifies the chat", name=one_line(chats[0].name, 40))
            return FormatMatch(found, 0.95, why)
        # A role, a text and a label: that is a text to classify.
        if not asked and sample.find_named(LABEL_NAMES):
            return None
        if not asked:
            raise _unmarked_chat_error(sample)
        return FormatMatch(found, 0.9, _("a turn in each row; a system message begins a new chat"))

    def continues_record(self, before: Values, values: Values, columns: Columns) -> bool:
        """Return whether a row belongs to the chat of the previous row."""
        if "conversation" in columns:
            name = columns["conversation"]
            return bool(before.get(name) == values.get(name))
        # Without a column for the chat, only a system message can mark the start of the next one.
        return str(values.get(columns["role"])).strip().lower() not in ("system", "developer")

    def join_rows(self, rows: Sequence[Values], columns: Columns) -> Values:
        """Join the rows of one chat into one row."""
        role, content, chat = columns["role"], columns["content"], columns.get("conversation")
        turns: list[dict[str, Any]] = []
        for values in rows:
            turn = {"role": values.get(role), "content": values.get(content)}
            others = {key: value for key, value in values.items() if key not in (role, content, chat)}
            # Other columns are kept as keys of the turn, such as the calls of tools.
            turns.append({**others, **turn})
        return {JOINED: turns}

    def convert_row(self, values: Values, columns: Columns) -> Any:
        return super().convert_row(values, {"messages": JOINED})

    def list_leftovers(self, values: Values, columns: Columns) -> set[tuple[str, str]]:
        # For a joined row only its first one counts: the caller asks for each of the others separately.
        turn = values[JOINED][0] if JOINED in values else self.join_rows([values], columns)[JOINED][0]
        return {("column", key) for key in list_unused_keys(turn)}

    def fits_told(self, told: Columns, sample: ColumnSample) -> bool:
        return set(self.needed) <= set(told)


def _holds_speakers(column: Column) -> bool:
    """Return whether a column holds only names of speakers."""
    return all(value.strip().lower() in SPOKEN for value in column.values)


def _repeats_in_sequence(column: Column, sample: ColumnSample) -> bool:
    """Return whether consecutive rows share a value."""
    values = [row.get(column.name) for row in sample.rows]
    return any(one is not None and one == other for one, other in itertools.pairwise(values))


def _unmarked_chat_error(sample: ColumnSample) -> AmbiguousColumns:
    return AmbiguousColumns(
        _("each row is one turn, and no column identifies its chat."),
        where=sample.where,
        hint=build_hint(
            N_(
                "If the file is one chat, or each of its chats begins with a system message: {command}. "
                "Otherwise give each row the number of its chat in a column conversation_id.",
                command=write_setting({"data.format": "turns"}),
            )
        ),
        field="data.format",
    )


def _tree_rows_error(sample: ColumnSample, content: Column) -> DataError:
    return DataError(
        _("each row is one message of a tree: several answers to one message are not a chat."),
        where=sample.where,
        hint=build_hint(
            N_(
                "Put each path from a first message to a last one into a row with messages; or train on the "
                "texts alone: {command}.",
                command=write_setting({"task": "pretraining", "data.columns": {"text": content.name}}),
            )
        ),
        field="task",
    )


FORMATS = (FlatTurns(),)
