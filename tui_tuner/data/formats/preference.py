"""Preference: a better and a worse answer to the same prompt."""

from __future__ import annotations

from tui_tuner.data.formats.base import Format, Match, ask
from tui_tuner.data.formats.parts.calls import tools_of
from tui_tuner.data.formats.parts.columns import Sample
from tui_tuner.data.formats.parts.troubles import Troubles
from tui_tuner.data.formats.parts.turns import answer_of, prompt_of, system_of, turn_columns, turns_of
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Message, Preference
from tui_tuner.locales import N_, _

CHOSEN_NAMES = ("chosen", "chosen_response", "preferred", "response_chosen", "better", "accepted")
REJECTED_NAMES = ("rejected", "rejected_response", "dispreferred", "response_rejected", "worse", "reject")

CHOSEN = Troubles(
    N_("the chosen answer is not text"),
    N_("the chosen answer is empty"),
    N_("the chosen answer is missing"),
)
REJECTED = Troubles(
    N_("the rejected answer is not text"),
    N_("the rejected answer is empty"),
    N_("the rejected answer is missing"),
)


class Preferences(Format):
    name = "preference"
    needed = ("chosen", "rejected")
    more = ("prompt", "input", "messages", "system", "tools")
    rank = 10

    def recognise(self, sample: Sample, asked: bool) -> Match | None:
        chosen, rejected = sample.named(CHOSEN_NAMES), sample.named(REJECTED_NAMES)
        if not chosen or not rejected:
            return None
        if len(chosen) > 1:
            raise ask(sample, "chosen", [column.name for column in chosen], {})
        if len(rejected) > 1:
            raise ask(sample, "rejected", [column.name for column in rejected], {})
        roles = {"chosen": chosen[0].name, "rejected": rejected[0].name}
        roles |= sample.optional("system", "tools")
        turns = turn_columns(sample)
        prompts = sample.named("prompt", "text", "objects")
        if turns:
            roles["messages"] = turns[0].name
        elif prompts:
            roles["prompt"] = prompts[0].name
            roles |= sample.optional("input", taken=[prompts[0].name])
        return Match(roles, 0.98, _("a chosen and a rejected answer in each row"))

    def convert(self, values: Values, columns: Columns) -> Preference:
        chosen = answer_of(values.get(columns["chosen"]), CHOSEN)
        rejected = answer_of(values.get(columns["rejected"]), REJECTED)
        if "messages" in columns:
            prompt = turns_of(values.get(columns["messages"]))
        elif "prompt" in columns:
            prompt = prompt_of(values, columns)
        else:  # both hold the whole chat
            shared = _shared(chosen, rejected)
            prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        # A layout that repeats the prompt inside the answers.
        chosen, rejected = _without(prompt, chosen), _without(prompt, rejected)
        if not any(message.role == "user" for message in prompt):
            raise RowProblem(N_("a preference row has no prompt"))
        if prompt[0].role != "system":
            prompt = system_of(values, columns) + prompt
        return Preference(prompt, chosen, rejected, tools_of(values, columns))


def _shared(chosen: list[Message], rejected: list[Message]) -> int:
    """How many turns two chats have in common in front; the last turn of each is its answer."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared].plain() == rejected[shared].plain():
        shared += 1
    return shared


def _without(prompt: list[Message], answer: list[Message]) -> list[Message]:
    size = len(prompt)
    if len(answer) > size and [m.plain() for m in answer[:size]] == [m.plain() for m in prompt]:
        return answer[size:]
    return answer


FORMATS = (Preferences(),)
