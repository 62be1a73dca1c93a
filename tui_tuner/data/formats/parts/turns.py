"""Turns of a chat: lists of them, prompts, answers and earlier rounds, in the customary layouts."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.columns import Column, Sample, loads_if_json
from tui_tuner.data.formats.parts.message import CONTENT_KEYS, ROLE_KEYS, messages_of
from tui_tuner.data.formats.parts.transcripts import is_transcript, turns_of_transcript
from tui_tuner.data.formats.parts.troubles import Troubles
from tui_tuner.data.formats.parts.values import Columns, Values, text_of
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Message
from tui_tuner.locales import N_, _

FROM_VALUE = ("from", "value")  # the keys of a turn in ShareGPT
ROLE_CONTENT = ("role", "content")
CHAT_KEYS = ("messages", "conversations", "conversation")  # what holds the turns where a chat is an object

# Rounds: the question and the answer in one object, as in MOSS, Firefly and XTuner
_ASKS = ("human", "user", "input", "question", "prompt", "instruction")
_ANSWERS = ("assistant", "gpt", "bot", "output", "answer", "response")


def chat_shape(value: Any) -> str:
    """What a value is as a chat: `from_value`, `role_content`, `rounds`, `pairs`, `texts`, or nothing.

    Texts that only stand in a list (`texts`), or two by two (`pairs`), are a chat where the column's name
    says so: question and answer follow each other.
    """
    value = loads_if_json(value)
    if isinstance(value, dict):
        inner = _turns_in(value)
        return chat_shape(inner) if inner is not None else ""
    if not isinstance(value, list) or not value:
        return ""
    first = value[0]
    if isinstance(first, dict):
        keys = set(first)
        if {"from", "value"} <= keys:
            return "from_value"
        if keys & set(ROLE_KEYS) and keys & {*CONTENT_KEYS, "tool_calls", "function_call"}:
            return "role_content"
        return "rounds" if _round_keys(first) else ""
    if all(isinstance(item, str) for item in value):
        return "texts" if len(value) > 1 else ""
    if all(isinstance(item, list | tuple) and len(item) == 2 for item in value):
        return "pairs" if all(isinstance(text, str) for item in value for text in item) else ""
    return ""


def turn_keys(column: Column) -> tuple[str, str] | None:
    """The keys of role and content in a column of turns, or None if it holds none."""
    shape = chat_shape(column.example)
    return {"from_value": FROM_VALUE, "role_content": ROLE_CONTENT}.get(shape)


def turn_columns(sample: Sample) -> list[Column]:
    """Columns that hold turns and have the name of a chat."""
    return [column for column in sample.named("messages") if chat_shape(column.example)]


def turns_of(value: Any) -> list[Message]:
    """A list of turns in any of the layouts, or its JSON, or a transcript.

    Raises:
        RowProblem: it is none, or empty.
    """
    if is_transcript(value):
        return turns_of_transcript(value)
    value = loads_if_json(value)
    if isinstance(value, dict) and _turns_in(value) is not None:
        value = loads_if_json(_turns_in(value))
    if value is None or value == [] or value == "":
        raise RowProblem(N_("the chat is empty"))
    shape = chat_shape(value)
    if shape == "texts":
        value = [value[number : number + 2] for number in range(0, len(value), 2)]
    if shape in ("texts", "pairs"):
        return [_bare(text, answers) for round_ in value for answers, text in enumerate(round_)]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowProblem(
            N_("the chat is not a list of turns"), _("it is a {kind}", kind=type(value).__name__)
        )
    if shape == "rounds":
        return [message for item in value for message in _round(item)]
    return [message for item in value for message in messages_of(item)]


def _bare(text: str, answers: int) -> Message:
    return Message("assistant" if answers else "user", text)


def _turns_in(value: dict[str, Any]) -> Any:
    """What an object holds as its turns; None if nothing."""
    return next((value[key] for key in CHAT_KEYS if isinstance(loads_if_json(value.get(key)), list)), None)


def _round_keys(item: dict[str, Any]) -> tuple[str, str] | None:
    ask, answer = [next((key for key in keys if key in item), "") for keys in (_ASKS, _ANSWERS)]
    return (ask, answer) if ask and answer and not set(ROLE_KEYS) & set(item) else None


def round_leftovers(item: dict[str, Any]) -> set[str]:
    """Keys of a round that nothing is made of."""
    return set(item) - {*(_round_keys(item) or ()), "system"}


def _round(item: dict[str, Any]) -> list[Message]:
    keys = _round_keys(item)
    if not keys:
        raise RowProblem(N_("a turn has no role"))
    system = text_of(item.get("system"), troubles.SYSTEM, False)
    found = [Message("system", system)] if system.strip() else []
    found.append(Message("user", text_of(item[keys[0]], troubles.PROMPT, False)))
    return [*found, Message("assistant", text_of(item[keys[1]], troubles.RESPONSE))]


def system_of(values: Values, columns: Columns) -> list[Message]:
    """The system message from a column of its own, if there is one."""
    if "system" not in columns:
        return []
    text = text_of(values.get(columns["system"]), troubles.SYSTEM, False)
    return [Message("system", text)] if text.strip() else []


def prompt_text(values: Values, columns: Columns) -> str:
    """What is asked: the prompt, and the input below it where there is one.

    An instruction that is empty leaves the input to ask by itself.
    """
    more = text_of(values.get(columns["input"]), troubles.INPUT, False) if "input" in columns else ""
    prompt = text_of(values.get(columns["prompt"]), troubles.PROMPT, not more.strip())
    if not prompt.strip():
        return more
    return f"{prompt}\n{more}" if more.strip() else prompt


def prompt_of(values: Values, columns: Columns) -> list[Message]:
    """The turns before an answer: a list of them, a transcript, or one text that asks."""
    value = values.get(columns["prompt"])
    if is_transcript(value) or isinstance(value, dict | list) or chat_shape(value) in _TYPED:
        return turns_of(value)
    return [Message("user", prompt_text(values, columns))]


_TYPED = ("from_value", "role_content")


def answer_of(value: Any, wrong: Troubles, whole: bool = False) -> list[Message]:
    """An answer by itself: a text, a turn, or a list of turns.

    Of SQuAD's answers, which say the same thing several times, it is the first.

    Args:
        whole: A text may hold the whole chat that ends with the answer, as a transcript or as JSON.
    """
    if whole and is_transcript(value):
        return turns_of_transcript(value)
    if chat_shape(value) in _TYPED and (whole or not isinstance(value, str)):
        return turns_of(value)
    if isinstance(value, dict) and set(value) & set(ROLE_KEYS):
        return messages_of(value)
    if whole and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    return [Message("assistant", text_of(_first_answer(value), wrong))]


def _first_answer(value: Any) -> Any:
    """The first text of SQuAD's `{"text": […], "answer_start": […]}` or `[{"text": …}, …]`."""
    if isinstance(value, list) and all(isinstance(item, dict) and "text" in item for item in value):
        value = value[0]["text"] if value else None
    elif isinstance(value, dict) and set(value) >= {"text", "answer_start"}:
        texts = value["text"]
        value = (texts[0] if texts else None) if isinstance(texts, list) else texts
    else:
        return value
    if value is None:
        raise RowProblem(N_("the question has no answer in its context"))
    return value


def history_of(value: Any) -> list[tuple[str, str]]:
    """Earlier rounds, as [[question, answer], …] or as turns."""
    value = loads_if_json(value)
    if not value:
        return []
    if not isinstance(value, list):
        raise RowProblem(N_("history is not a list"))
    if all(isinstance(item, dict) for item in value):
        turns = turns_of(value)
        if len(turns) % 2 or any(t.role != ("user", "assistant")[i % 2] for i, t in enumerate(turns)):
            raise RowProblem(N_("history does not alternate between user and assistant"))
        return [(a.content or "", b.content or "") for a, b in zip(turns[::2], turns[1::2], strict=True)]
    rounds = []
    for item in value:
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise RowProblem(N_("history is not a list of question and answer"))
        rounds.append(
            (text_of(item[0], troubles.EARLIER_QUESTION), text_of(item[1], troubles.EARLIER_ANSWER))
        )
    return rounds
