"""KTO: an answer, and whether it is good."""

from __future__ import annotations

from tui_tuner.data.formats.base import Format, Match, Way
from tui_tuner.data.formats.parts.calls import tools_in
from tui_tuner.data.formats.parts.columns import Sample
from tui_tuner.data.formats.parts.troubles import Troubles
from tui_tuner.data.formats.parts.turns import answer_of, prompt_of, system_of, turn_columns, turns_of
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Judged
from tui_tuner.locales import N_, _
from tui_tuner.text import one_line

GOOD_NAMES = ("kto_tag", "label", "is_good", "desirable", "thumbs_up", "score")
# Names that say it all: zero and one are false and true there
SURE_NAMES = ("kto_tag", "is_good", "desirable", "thumbs_up")
_GOOD = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
ANSWER = Troubles(N_("the answer is not text"), N_("the answer is empty"), N_("the answer is missing"))


class KTO(Format):
    name = "kto"
    needed = ("good",)
    more = ("prompt", "input", "response", "messages", "system", "tools")
    rank = 20

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        good = [
            column
            for column in sample.named(GOOD_NAMES)
            if column.mostly("bool")
            or (column.plain in SURE_NAMES and {value.lower() for value in column.values} <= set(_GOOD))
        ]
        if not good:
            return None
        roles = {"good": good[0].name, **sample.optional("system", "tools")}
        turns = turn_columns(sample)
        prompts = sample.named("prompt", "text", "objects")
        if len(prompts) > 1:  # an input beside an instruction adds to it
            prompts = [column for column in prompts if column.plain != "input"] or prompts
        answers = sample.named("response", "text", "objects")
        if turns:
            roles["messages"] = turns[0].name
        elif len(prompts) == 1 and len(answers) == 1:
            roles |= {"prompt": prompts[0].name, "response": answers[0].name}
            roles |= sample.optional("input", taken=list(roles.values()))
        else:
            return None
        why = _("{name} says whether the answer is good", name=one_line(good[0].name, 40))
        return Match(roles, 0.995, why)

    def convert(self, values: Values, columns: Columns) -> Judged:
        good = values.get(columns["good"])
        good = _GOOD.get(str(good).strip().lower(), good)
        if not isinstance(good, bool):
            raise RowProblem(N_("the KTO label is neither true nor false"), repr(good)[:40])
        if "messages" in columns:
            messages = turns_of(values.get(columns["messages"]))
        else:
            answer = answer_of(values.get(columns["response"]), ANSWER)
            messages = prompt_of(values, columns) + answer
        if messages[-1].role != "assistant":
            raise RowProblem(N_("the chat does not end with an answer"))
        if messages[0].role != "system":
            messages = system_of(values, columns) + messages
        return Judged(messages, good, tools_in(values, columns))

    def lacking(self, told: Columns) -> list[str]:
        answered = () if "messages" in told else ("prompt", "response")
        return [role for role in (*answered, *self.needed) if role not in told]

    def otherwise(self, columns: Columns, values: Values) -> Way:
        words = N_("To train on all answers, the good and the bad: {command}.")
        return Way(words, "sft", {role: name for role, name in columns.items() if role != "good"})


FORMATS = (KTO(),)
