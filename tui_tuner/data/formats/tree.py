"""Read a tree of messages with the replies to each (OASST), along its best replies."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.messages import Messages
from tui_tuner.data.formats.parts.columns import Column, ColumnSample
from tui_tuner.data.formats.parts.message import list_unused_keys
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.formats.record_format import FormatMatch, ask_for_column
from tui_tuner.data.records import Chat
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line


class Tree(Messages):
    name = "tree"
    rank = 15

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        columns = [column for column in sample.find_by_kind("object") if _is_tree(column)]
        if len(columns) > 1:
            raise ask_for_column(sample, "messages", [column.name for column in columns], {})
        if not columns:
            return None
        why = _(
            "{name} is a message with replies; the best of each are read", name=one_line(columns[0].name, 40)
        )
        return FormatMatch({"messages": columns[0].name}, 0.97, why)

    def convert_row(self, values: Values, columns: Columns) -> Chat:
        path = _follow_best_replies(values.get(columns["messages"]))
        # A question at the end that has no answer.
        while path and path[-1].get("role") in ("user", "prompter"):
            path.pop()
        return super().convert_row({"path": path}, {"messages": "path"})

    def list_leftovers(self, values: Values, columns: Columns) -> set[tuple[str, str]]:
        root = columns["messages"]
        # The root is left out, because its keys are counted along the path below.
        found = super().list_leftovers({**values, root: None}, columns)
        path = _follow_best_replies(values.get(root)) if _is_message(values.get(root)) else []
        # Replies outside of the path are lost, which the ledger must show.
        if any(len(message.get("replies") or []) > 1 for message in path):
            found.add(("key", "replies"))
        return found | {("key", key) for turn in path for key in list_unused_keys(turn) if key != "replies"}

    def fits_told(self, told: Columns, sample: ColumnSample) -> bool:
        return "messages" in told and _is_tree(sample.columns[told["messages"]])


def _is_tree(column: Column) -> bool:
    found = column.example
    return _is_message(found) and isinstance(found.get("replies"), list)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and "role" in value


def _follow_best_replies(message: Any) -> list[dict[str, Any]]:
    """Follow the best reply to each message: the one with the lowest rank, or the first."""
    path = []
    while isinstance(message, dict):
        path.append(message)
        replies = [reply for reply in message.get("replies") or [] if isinstance(reply, dict)]
        ranks = [reply["rank"] if isinstance(reply.get("rank"), int) else len(replies) for reply in replies]
        message = replies[ranks.index(min(ranks))] if replies else None
    if not path:
        raise RowProblem(N_("the chat is empty"))
    return path


FORMATS = (Tree(),)
