"""A tree of messages and the replies to each (OASST): read along its best replies."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.base import Match, ask
from tui_tuner.data.formats.messages import Messages
from tui_tuner.data.formats.parts.columns import Column, Sample
from tui_tuner.data.formats.parts.message import unused_keys
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Chat
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line


class Tree(Messages):
    name = "tree"
    rank = 15

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        columns = [column for column in sample.of_kind("object") if _is_tree(column)]
        if len(columns) > 1:
            raise ask(sample, "messages", [column.name for column in columns], {})
        if not columns:
            return None
        why = _(
            "{name} is a message with replies; the best of each are read", name=one_line(columns[0].name, 40)
        )
        return Match({"messages": columns[0].name}, 0.97, why)

    def convert(self, values: Values, columns: Columns) -> Chat:
        path = _path(values.get(columns["messages"]))
        while path and path[-1].get("role") in ("user", "prompter"):  # a question that nobody answered
            path.pop()
        return super().convert({"path": path}, {"messages": "path"})

    def leftovers(self, values: Values, columns: Columns) -> set[tuple[str, str]]:
        root = columns["messages"]
        found = super().leftovers({**values, root: None}, columns)
        path = _path(values.get(root)) if _is_message(values.get(root)) else []
        if any(len(message.get("replies") or []) > 1 for message in path):
            found.add(("key", "replies"))
        return found | {("key", key) for turn in path for key in unused_keys(turn) if key != "replies"}

    def fits_told(self, told: Columns, sample: Sample) -> bool:
        return "messages" in told and _is_tree(sample.columns[told["messages"]])


def _is_tree(column: Column) -> bool:
    found = column.example
    return _is_message(found) and isinstance(found.get("replies"), list)


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and "role" in value


def _path(message: Any) -> list[dict[str, Any]]:
    """From the first message along the best reply to each: the lowest rank, or the first."""
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
