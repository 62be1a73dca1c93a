"""Read OpenAI messages, a list of turns with role and content, and other lists of turns."""

from __future__ import annotations

from tui_tuner.data.formats.parts.calls import find_tools
from tui_tuner.data.formats.parts.chat_turns import (
    FROM_VALUE,
    find_chat_shape,
    find_turn_keys,
    read_system_message,
    read_turns,
)
from tui_tuner.data.formats.parts.columns import NAMES, Column, ColumnSample
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.formats.record_format import FormatMatch, RecordFormat, ask_for_column
from tui_tuner.data.records import Chat
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

OTHER_CHATS = ("chosen", "rejected", "history")  # may hold turns too, but are never the chat itself
CHAT_NAMES = (*NAMES["messages"], "data")  # the last is UltraChat's, and too common for any other use


class Messages(RecordFormat):
    name = "messages"
    needed: tuple[str, ...] = ("messages",)
    more: tuple[str, ...] = ("system", "tools")
    rank = 30

    def has_own_keys(self, column: Column) -> bool:
        """Return whether the turns of a column have the keys of this format."""
        return find_turn_keys(column) != FROM_VALUE

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        columns = [c for c in sample.columns.values() if c.filled and find_turn_keys(c)]
        columns = [c for c in columns if c.normalised_name not in OTHER_CHATS and not _is_one_side(c, sample)]
        known = [column for column in columns if column in sample.find_named("messages")]
        # Lists of texts or rounds are a chat only if their column is called like one.
        named = (
            [c for c in sample.find_named(CHAT_NAMES) if find_chat_shape(c.example)] if not columns else []
        )
        best = known or columns or named
        if len(best) > 1:
            raise ask_for_column(sample, "messages", [column.name for column in best], {})
        if not best or not self.has_own_keys(best[0]):
            return None
        roles = {"messages": best[0].name, **sample.find_optional("system", "tools", taken=[best[0].name])}
        # MT-Bench keeps only questions like this, and every second one would be taken for an answer.
        sure = (
            0.6 if find_chat_shape(best[0].example) == "texts" and best[0].normalised_name == "turns" else 0.9
        )
        return FormatMatch(roles, 0.99 if known else sure, _explain_match(best[0]))

    def convert_row(self, values: Values, columns: Columns) -> Chat:
        messages = read_turns(values.get(columns["messages"]))
        if not (messages and messages[0].role == "system"):
            messages = read_system_message(values, columns) + messages
        if not any(message.role == "assistant" for message in messages):
            raise RowProblem(N_("no answer in the chat"))
        for message in messages:
            said = message.tool_calls or message.reasoning or (message.content or "").strip()
            if message.role == "assistant" and not said:
                raise RowProblem(N_("an answer in the chat is empty"))
        return Chat(messages, find_tools(values, columns))

    def fits_told(self, told: Columns, sample: ColumnSample) -> bool:
        # Next to an answer that is chosen or judged, a chat is the prompt.
        return (
            "messages" in told
            and not {"chosen", "good"} & set(told)
            and self.has_own_keys(sample.columns[told["messages"]])
        )


def _is_one_side(column: Column, sample: ColumnSample) -> bool:
    """Return whether a column holds only the questions or the answers, and another column the rest."""
    prompts, answers = sample.find_named("prompt"), sample.find_named("response")
    return bool(prompts and answers) and column in (*prompts, *answers)


def _explain_match(column: Column) -> str:
    name, keys = one_line(column.name, 40), find_turn_keys(column)
    if keys:
        return _(
            "{name} is a list of turns with {role} and {content}", name=name, role=keys[0], content=keys[1]
        )
    return _("{name} is a list of questions and answers in turn", name=name)


FORMATS = (Messages(),)
