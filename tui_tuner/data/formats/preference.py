"""Read preferences: a better and a worse answer to the same prompt."""

from __future__ import annotations

from tui_tuner.data.formats.parts.calls import find_tools
from tui_tuner.data.formats.parts.chat_turns import (
    list_turn_columns,
    read_answer_turns,
    read_prompt_turns,
    read_system_message,
    read_turns,
)
from tui_tuner.data.formats.parts.columns import Column, ColumnSample
from tui_tuner.data.formats.parts.troubles import TextProblems
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.formats.record_format import AlternativeWay, FormatMatch, RecordFormat, ask_for_column
from tui_tuner.data.records import Message, Preference
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _

CHOSEN_NAMES = ("chosen", "chosen_response", "preferred", "response_chosen", "better", "accepted")
REJECTED_NAMES = ("rejected", "rejected_response", "dispreferred", "response_rejected", "worse", "reject")
# Two columns whose names differ only in such a word, such as `messages_chosen` and `messages_rejected`
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

CHOSEN = TextProblems(
    N_("the chosen answer is not text"),
    N_("the chosen answer is empty"),
    N_("the chosen answer is missing"),
)
REJECTED = TextProblems(
    N_("the rejected answer is not text"),
    N_("the rejected answer is empty"),
    N_("the rejected answer is missing"),
)


class Preferences(RecordFormat):
    name = "preference"
    needed = ("chosen", "rejected")
    more = ("prompt", "input", "messages", "system", "tools")
    rank = 10

    def recognise_rows(self, sample: ColumnSample, asked: bool) -> FormatMatch | None:
        chosen, rejected = sample.find_named(CHOSEN_NAMES), sample.find_named(REJECTED_NAMES)
        if not chosen or not rejected:
            chosen, rejected = _find_opposites(sample)
        if not chosen or not rejected:
            return None
        roles = _find_prompt_columns(sample, [column.name for column in (*chosen, *rejected)])
        if len(chosen) > 1:
            raise ask_for_column(
                sample, "chosen", [c.name for c in chosen], {**roles, "rejected": rejected[0].name}
            )
        if len(rejected) > 1:
            raise ask_for_column(
                sample, "rejected", [c.name for c in rejected], {**roles, "chosen": chosen[0].name}
            )
        roles = {"chosen": chosen[0].name, "rejected": rejected[0].name, **roles}
        return FormatMatch(roles, 0.98, _("a chosen and a rejected answer in each row"))

    def convert_row(self, values: Values, columns: Columns) -> Preference:
        chosen = read_answer_turns(values.get(columns["chosen"]), CHOSEN, whole=True)
        rejected = read_answer_turns(values.get(columns["rejected"]), REJECTED, whole=True)
        prompt: list[Message] = []
        if "messages" in columns:
            prompt = read_turns(values.get(columns["messages"]))
        elif "prompt" in columns:
            prompt = read_prompt_turns(values, columns)
        # Both answers contain the whole chat.
        if chosen[0].role != "assistant" and rejected[0].role != "assistant":
            shared = _count_shared_turns(chosen, rejected)
            prompt = _merge_prompts(prompt, chosen[:shared])
            chosen, rejected = chosen[shared:], rejected[shared:]
        elif len(prompt) > 1 and prompt[-1].to_plain_turn() == chosen[0].to_plain_turn():
            # The chat of the prompt already ends with the chosen answer.
            prompt = prompt[:-1]
        # Some layouts repeat the prompt inside of one of the answers.
        chosen, rejected = _strip_prompt(prompt, chosen), _strip_prompt(prompt, rejected)
        if chosen[-1].role != "assistant":
            raise RowProblem(CHOSEN.missing)
        if rejected[-1].role != "assistant":
            raise RowProblem(REJECTED.missing)
        if not any(message.role == "user" for message in prompt):
            raise RowProblem(N_("a preference row has no prompt"))
        if prompt[0].role != "system":
            prompt = read_system_message(values, columns) + prompt
        return Preference(prompt, chosen, rejected, find_tools(values, columns))

    def suggest_other_way(self, columns: Columns, values: Values) -> AlternativeWay:
        roles: Columns = {role: columns[role] for role in ("system", "tools") if role in columns}
        if read_answer_turns(values.get(columns["chosen"]), CHOSEN, whole=True)[0].role != "assistant":
            roles = {"messages": columns["chosen"], **roles}
        else:
            prompts = {
                "prompt": columns.get("messages", columns.get("prompt", "")),
                "input": columns.get("input"),
            }
            asks = {role: name for role, name in prompts.items() if name}
            roles = {**asks, "response": columns["chosen"], **roles}
        return AlternativeWay(N_("To train on the chosen answers alone: {command}."), "sft", roles)


def _find_prompt_columns(sample: ColumnSample, taken: list[str]) -> Columns:
    """Find the columns of the prompt."""
    roles: Columns = sample.find_optional("system", "tools", taken=taken)
    turns = [column for column in list_turn_columns(sample) if column.name not in taken]
    prompts = [c for c in sample.find_named("prompt", "text", "objects", "object") if c.name not in taken]
    if turns:
        roles["messages"] = turns[0].name
    elif prompts:
        roles["prompt"] = prompts[0].name
        roles |= sample.find_optional("input", taken=[*taken, prompts[0].name])
    return roles


def _find_opposites(sample: ColumnSample) -> tuple[list[Column], list[Column]]:
    """Find two columns whose names say that one is better than the other."""
    filled = {column.normalised_name: column for column in sample.columns.values() if column.filled}
    for better, worse in _OPPOSITES:
        for name, column in filled.items():
            # Only whole words between underscores: "better" must not match inside of another word.
            other = filled.get(name.replace(better, worse)) if better in name.split("_") else None
            if other is not None and other is not column:
                return [column], [other]
    return [], []


def _count_shared_turns(chosen: list[Message], rejected: list[Message]) -> int:
    """Count the turns that two chats share at their start; the last turn of each is its answer."""
    shared = 0
    while (
        shared < min(len(chosen), len(rejected)) - 1
        and chosen[shared].to_plain_turn() == rejected[shared].to_plain_turn()
    ):
        shared += 1
    return shared


def _merge_prompts(prompt: list[Message], shared: list[Message]) -> list[Message]:
    """Merge the prompt of a row with the turns that both answers share."""
    # Either may have more: the answers a system message, the prompt the whole chat with the chosen answer.
    asked, front = [m.to_plain_turn() for m in prompt], [m.to_plain_turn() for m in shared]
    # The shorter one is part of the longer one, which then says everything.
    both = all(message in front for message in asked) or (front and asked[: len(front)] == front)
    return shared if both else prompt + shared


def _strip_prompt(prompt: list[Message], answer: list[Message]) -> list[Message]:
    size = len(prompt)
    if len(answer) > size and [m.to_plain_turn() for m in answer[:size]] == [
        m.to_plain_turn() for m in prompt
    ]:
        return answer[size:]
    return answer


FORMATS = (Preferences(),)
