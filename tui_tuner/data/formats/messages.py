"""OpenAI messages: a list of turns with role and content."""

from __future__ import annotations

from tui_tuner.data.formats.base import Format, Match, ask
from tui_tuner.data.formats.parts.calls import tools_of
from tui_tuner.data.formats.parts.columns import Column, Sample
from tui_tuner.data.formats.parts.turns import FROM_VALUE, system_of, turn_keys, turns_of
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Chat
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

OTHER_CHATS = ("chosen", "rejected", "history")  # may hold turns too, but never the chat itself


class Messages(Format):
    name = "messages"
    needed = ("messages",)
    more = ("system", "tools")
    rank = 30

    def spelt_like_this(self, column: Column) -> bool:
        """Whether the turns of a column have the keys of this format."""
        return turn_keys(column) != FROM_VALUE

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        columns = [c for c in sample.columns.values() if c.filled and turn_keys(c)]
        columns = [c for c in columns if c.plain not in OTHER_CHATS]
        known = [column for column in columns if column in sample.named("messages")]
        best = known or columns
        if len(best) > 1:
            raise ask(sample, "messages", [column.name for column in best], {})
        keys = turn_keys(best[0]) if best else None
        if not keys or not self.spelt_like_this(best[0]):
            return None
        roles = {"messages": best[0].name, **sample.optional("system", "tools")}
        why = _(
            "{name} is a list of turns with {role} and {content}",
            name=one_line(best[0].name, 40),
            role=keys[0],
            content=keys[1],
        )
        return Match(roles, 0.99 if known else 0.9, why)

    def convert(self, values: Values, columns: Columns) -> Chat:
        messages = turns_of(values.get(columns["messages"]))
        if not (messages and messages[0].role == "system"):
            messages = system_of(values, columns) + messages
        if not any(message.role == "assistant" for message in messages):
            raise RowProblem(N_("no answer in the chat"))
        for message in messages:
            if message.role == "assistant" and not message.tool_calls and not (message.content or "").strip():
                raise RowProblem(N_("an answer in the chat is empty"))
        return Chat(messages, tools_of(values, columns))

    def fits_told(self, told: Columns, sample: Sample) -> bool:
        # Beside an answer that is chosen or judged, a chat is the prompt.
        return (
            "messages" in told
            and not {"chosen", "good"} & set(told)
            and self.spelt_like_this(sample.columns[told["messages"]])
        )


FORMATS = (Messages(),)
