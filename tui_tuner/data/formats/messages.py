"""OpenAI messages: a list of turns with role and content; and other lists of what is said in turn."""

from __future__ import annotations

from tui_tuner.data.formats.base import Format, Match, ask
from tui_tuner.data.formats.parts.calls import tools_in
from tui_tuner.data.formats.parts.columns import NAMES, Column, Sample
from tui_tuner.data.formats.parts.turns import FROM_VALUE, chat_shape, system_of, turn_keys, turns_of
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Chat
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

OTHER_CHATS = ("chosen", "rejected", "history")  # may hold turns too, but never the chat itself
CHAT_NAMES = (*NAMES["messages"], "data")  # the last is UltraChat's, and too common a name for anything else


class Messages(Format):
    name = "messages"
    needed: tuple[str, ...] = ("messages",)
    more: tuple[str, ...] = ("system", "tools")
    rank = 30

    def spelt_like_this(self, column: Column) -> bool:
        """Whether the turns of a column have the keys of this format."""
        return turn_keys(column) != FROM_VALUE

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        columns = [c for c in sample.columns.values() if c.filled and turn_keys(c)]
        columns = [c for c in columns if c.plain not in OTHER_CHATS and not _half(c, sample)]
        known = [column for column in columns if column in sample.named("messages")]
        # texts or rounds that only the column's name makes a chat
        named = [c for c in sample.named(CHAT_NAMES) if chat_shape(c.example)] if not columns else []
        best = known or columns or named
        if len(best) > 1:
            raise ask(sample, "messages", [column.name for column in best], {})
        if not best or not self.spelt_like_this(best[0]):
            return None
        roles = {"messages": best[0].name, **sample.optional("system", "tools", taken=[best[0].name])}
        # MT-Bench keeps questions alone like this, and each second one would be taken for an answer
        sure = 0.6 if chat_shape(best[0].example) == "texts" and best[0].plain == "turns" else 0.9
        return Match(roles, 0.99 if known else sure, _why(best[0]))

    def convert(self, values: Values, columns: Columns) -> Chat:
        messages = turns_of(values.get(columns["messages"]))
        if not (messages and messages[0].role == "system"):
            messages = system_of(values, columns) + messages
        if not any(message.role == "assistant" for message in messages):
            raise RowProblem(N_("no answer in the chat"))
        for message in messages:
            said = message.tool_calls or message.reasoning or (message.content or "").strip()
            if message.role == "assistant" and not said:
                raise RowProblem(N_("an answer in the chat is empty"))
        return Chat(messages, tools_in(values, columns))

    def fits_told(self, told: Columns, sample: Sample) -> bool:
        # Beside an answer that is chosen or judged, a chat is the prompt.
        return (
            "messages" in told
            and not {"chosen", "good"} & set(told)
            and self.spelt_like_this(sample.columns[told["messages"]])
        )


def _half(column: Column, sample: Sample) -> bool:
    """Whether a column is only the turns that ask, or those that answer, the others being beside it."""
    prompts, answers = sample.named("prompt"), sample.named("response")
    return bool(prompts and answers) and column in (*prompts, *answers)


def _why(column: Column) -> str:
    name, keys = one_line(column.name, 40), turn_keys(column)
    if keys:
        return _(
            "{name} is a list of turns with {role} and {content}", name=name, role=keys[0], content=keys[1]
        )
    return _("{name} is a list of questions and answers in turn", name=name)


FORMATS = (Messages(),)
