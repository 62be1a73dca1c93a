"""Read KTO rows: an answer, and whether it is good."""

from __future__ import annotations

from tui_tuner.data.formats.parts.calls import find_tools
from tui_tuner.data.formats.parts.chat_turns import (
    list_turn_columns,
    read_answer_turns,
    read_prompt_turns,
    read_system_message,
    read_turns,
)
from tui_tuner.data.formats.parts.columns import ColumnSample
from tui_tuner.data.formats.parts.troubles import TextProblems
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.formats.record_format import AlternativeWay, FormatMatch, RecordFormat
from tui_tuner.data.records import JudgedChat
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

GOOD_NAMES = ("kto_tag", "label", "is_good", "desirable", "thumbs_up", "score")
# Names that are clear enough to read zero and one as false and true
SURE_NAMES = ("kto_tag", "is_good", "desirable", "thumbs_up")
_GOOD = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
ANSWER = TextProblems(N_("the answer is not text"), N_("the answer is empty"), N_("the answer is missing"))


class KTO(RecordFormat):
    name = "kto"
    needed = ("good",)
    more = ("prompt", "input", "response", "messages", "system", "tools")
    rank = 20

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        good = [
            column
            for column in sample.find_named(GOOD_NAMES)
            if column.is_mostly("bool")
            or (
                column.normalised_name in SURE_NAMES
                and {value.lower() for value in column.values} <= set(_GOOD)
            )
        ]
        if not good:
            return None
        roles = {"good": good[0].name, **sample.find_optional("system", "tools")}
        turns = list_turn_columns(sample)
        prompts = sample.find_named("prompt", "text", "objects")
        # An input next to an instruction is part of the prompt.
        if len(prompts) > 1:
            prompts = [column for column in prompts if column.normalised_name != "input"] or prompts
        answers = sample.find_named("response", "text", "objects")
        if turns:
            roles["messages"] = turns[0].name
        elif len(prompts) == 1 and len(answers) == 1:
            roles |= {"prompt": prompts[0].name, "response": answers[0].name}
            roles |= sample.find_optional("input", taken=list(roles.values()))
        else:
            return None
        why = _("{name} shows whether the answer is good", name=one_line(good[0].name, 40))
        return FormatMatch(roles, 0.995, why)

    def convert_row(self, values: Values, columns: Columns) -> JudgedChat:
        good = values.get(columns["good"])
        good = _GOOD.get(str(good).strip().lower(), good)
        if not isinstance(good, bool):
            raise RowProblem(N_("the KTO label is neither true nor false"), repr(good)[:40])
        if "messages" in columns:
            messages = read_turns(values.get(columns["messages"]))
        else:
            answer = read_answer_turns(values.get(columns["response"]), ANSWER)
            messages = read_prompt_turns(values, columns) + answer
        # The judgement is about the last answer.
        if messages[-1].role != "assistant":
            raise RowProblem(N_("the chat does not end with an answer"))
        if messages[0].role != "system":
            messages = read_system_message(values, columns) + messages
        return JudgedChat(messages, good, find_tools(values, columns))

    def list_missing_roles(self, told: Columns) -> list[str]:
        answered = () if "messages" in told else ("prompt", "response")
        return [role for role in (*answered, *self.needed) if role not in told]

    def suggest_other_way(self, columns: Columns, values: Values) -> AlternativeWay:
        words = N_("To train on all answers, good and bad: {command}.")
        return AlternativeWay(words, "sft", {role: name for role, name in columns.items() if role != "good"})


FORMATS = (KTO(),)
