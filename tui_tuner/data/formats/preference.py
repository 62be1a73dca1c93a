"""Preference: a better and a worse answer to the same prompt."""

from __future__ import annotations

from tui_tuner.data.formats.base import Format, Match, Way, ask
from tui_tuner.data.formats.parts.calls import tools_in
from tui_tuner.data.formats.parts.columns import Column, Sample
from tui_tuner.data.formats.parts.troubles import Troubles
from tui_tuner.data.formats.parts.turns import answer_of, prompt_of, system_of, turn_columns, turns_of
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Message, Preference
from tui_tuner.locales import N_, _

CHOSEN_NAMES = ("chosen", "chosen_response", "preferred", "response_chosen", "better", "accepted")
REJECTED_NAMES = ("rejected", "rejected_response", "dispreferred", "response_rejected", "worse", "reject")
# Two columns whose names differ in such a word alone, as `messages_chosen` and `messages_rejected`
_OPPOSITES = (
    ("chosen", "rejected"),
    ("preferred", "non_preferred"),
    ("preferred", "dispreferred"),
    ("preferred", "rejected"),
    ("accepted", "rejected"),
    ("better", "worse"),
    ("winner", "loser"),
    ("winning", "losing"),
)

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
            chosen, rejected = _opposites(sample)
        if not chosen or not rejected:
            return None
        roles = _asking(sample, [column.name for column in (*chosen, *rejected)])
        if len(chosen) > 1:
            raise ask(sample, "chosen", [c.name for c in chosen], {**roles, "rejected": rejected[0].name})
        if len(rejected) > 1:
            raise ask(sample, "rejected", [c.name for c in rejected], {**roles, "chosen": chosen[0].name})
        roles = {"chosen": chosen[0].name, "rejected": rejected[0].name, **roles}
        return Match(roles, 0.98, _("a chosen and a rejected answer in each row"))

    def convert(self, values: Values, columns: Columns) -> Preference:
        chosen = answer_of(values.get(columns["chosen"]), CHOSEN, whole=True)
        rejected = answer_of(values.get(columns["rejected"]), REJECTED, whole=True)
        prompt: list[Message] = []
        if "messages" in columns:
            prompt = turns_of(values.get(columns["messages"]))
        elif "prompt" in columns:
            prompt = prompt_of(values, columns)
        if chosen[0].role != "assistant" and rejected[0].role != "assistant":  # both hold the whole chat
            shared = _shared(chosen, rejected)
            prompt = _together(prompt, chosen[:shared])
            chosen, rejected = chosen[shared:], rejected[shared:]
        elif len(prompt) > 1 and prompt[-1].plain() == chosen[0].plain():
            prompt = prompt[:-1]  # a chat that ends with the chosen answer
        # A layout that repeats the prompt inside one of the answers.
        chosen, rejected = _without(prompt, chosen), _without(prompt, rejected)
        if chosen[-1].role != "assistant":
            raise RowProblem(CHOSEN.missing)
        if rejected[-1].role != "assistant":
            raise RowProblem(REJECTED.missing)
        if not any(message.role == "user" for message in prompt):
            raise RowProblem(N_("a preference row has no prompt"))
        if prompt[0].role != "system":
            prompt = system_of(values, columns) + prompt
        return Preference(prompt, chosen, rejected, tools_in(values, columns))

    def otherwise(self, columns: Columns, values: Values) -> Way:
        roles: Columns = {role: columns[role] for role in ("system", "tools") if role in columns}
        if answer_of(values.get(columns["chosen"]), CHOSEN, whole=True)[0].role != "assistant":
            roles = {"messages": columns["chosen"], **roles}
        else:
            prompts = {
                "prompt": columns.get("messages", columns.get("prompt", "")),
                "input": columns.get("input"),
            }
            asks = {role: name for role, name in prompts.items() if name}
            roles = {**asks, "response": columns["chosen"], **roles}
        return Way(N_("To train on the chosen answers alone: {command}."), "sft", roles)


def _asking(sample: Sample, taken: list[str]) -> Columns:
    """The columns before the answers."""
    roles: Columns = sample.optional("system", "tools", taken=taken)
    turns = [column for column in turn_columns(sample) if column.name not in taken]
    prompts = [c for c in sample.named("prompt", "text", "objects", "object") if c.name not in taken]
    if turns:
        roles["messages"] = turns[0].name
    elif prompts:
        roles["prompt"] = prompts[0].name
        roles |= sample.optional("input", taken=[*taken, prompts[0].name])
    return roles


def _opposites(sample: Sample) -> tuple[list[Column], list[Column]]:
    """Filled columns whose names say that one is better than the other."""
    filled = {column.plain: column for column in sample.columns.values() if column.filled}
    for better, worse in _OPPOSITES:
        for name, column in filled.items():
            other = filled.get(name.replace(better, worse)) if better in name.split("_") else None
            if other is not None and other is not column:
                return [column], [other]
    return [], []


def _shared(chosen: list[Message], rejected: list[Message]) -> int:
    """How many turns two chats have in common in front; the last turn of each is its answer."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared].plain() == rejected[shared].plain():
        shared += 1
    return shared


def _together(prompt: list[Message], shared: list[Message]) -> list[Message]:
    """The prompt of a row that has one by itself and in front of both answers.

    Either may say more: the answers a system message, and the prompt the whole chat with the chosen answer.
    """
    asked, front = [m.plain() for m in prompt], [m.plain() for m in shared]
    both = all(message in front for message in asked) or (front and asked[: len(front)] == front)
    return shared if both else prompt + shared


def _without(prompt: list[Message], answer: list[Message]) -> list[Message]:
    size = len(prompt)
    if len(answer) > size and [m.plain() for m in answer[:size]] == [m.plain() for m in prompt]:
        return answer[size:]
    return answer


FORMATS = (Preferences(),)
