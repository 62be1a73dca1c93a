"""Turns of a chat: roles, contents and earlier rounds, in the customary spellings."""

from __future__ import annotations

from typing import Any

import orjson

from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.calls import calls_of, calls_of_text
from tui_tuner.data.formats.parts.columns import Column, Sample, loads_if_json
from tui_tuner.data.formats.parts.troubles import Troubles
from tui_tuner.data.formats.parts.values import Columns, Values, text_of
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Message
from tui_tuner.locales import N_, _

# Who speaks, in the words of public data sets -> role
_SPOKEN = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "agent": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "ipython": "tool",
}

FROM_VALUE = ("from", "value")  # the keys of a turn in ShareGPT
ROLE_CONTENT = ("role", "content")


def turn_keys(column: Column) -> tuple[str, str] | None:
    """The keys of role and content in a column of turns, or None if it holds none."""
    example = loads_if_json(column.example)
    if not isinstance(example, list) or not example or not isinstance(example[0], dict):
        return None
    keys = set(example[0])
    if {"from", "value"} <= keys:
        return FROM_VALUE
    if "role" in keys and keys & {"content", "tool_calls", "value", "text"}:
        return ROLE_CONTENT
    return None


def turn_columns(sample: Sample) -> list[Column]:
    """Columns that hold turns and have the name of a chat."""
    return [column for column in sample.named("messages") if turn_keys(column)]


def turns_of(value: Any) -> list[Message]:
    """A list of turns, or its JSON. Raises `RowProblem` if it is none, or empty."""
    value = loads_if_json(value)
    if value is None or value == [] or value == "":
        raise RowProblem(N_("the chat is empty"))
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowProblem(
            N_("the chat is not a list of turns"), _("it is a {kind}", kind=type(value).__name__)
        )
    return [message_of(item) for item in value]


def message_of(item: dict[str, Any]) -> Message:
    """A turn in any of the customary spellings."""
    spoken = item.get("role", item.get("from"))
    if not isinstance(spoken, str):
        raise RowProblem(N_("a turn has no role"))
    role = _SPOKEN.get(spoken.strip().lower())
    if role is None:
        raise RowProblem(N_("unknown role"), repr(spoken)[:60])
    value = item.get("content", item.get("value", item.get("text")))
    train = _train_flag(item)
    if spoken.strip().lower() in ("function_call", "tool_call"):
        return Message("assistant", None, calls_of_text(value), train=train)
    calls = calls_of(item.get("tool_calls"))
    content = _content(value)
    if content is None and not calls:
        raise RowProblem(N_("a turn has no content"))
    return Message(
        role,
        content,
        calls,
        name=item.get("name") if isinstance(item.get("name"), str) else None,
        tool_call_id=item.get("tool_call_id") if isinstance(item.get("tool_call_id"), str) else None,
        train=train,
    )


def _train_flag(item: dict[str, Any]) -> bool | None:
    """`train` (true, false) or OpenAI's `weight` (0 or 1) of a turn."""
    for key in ("train", "weight"):
        value = item.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        raise RowProblem(N_("a turn's {key} is neither true nor false", key=key), repr(value)[:40])
    return None


def _content(value: Any) -> str | None:
    """Text, or the text parts of a list of content parts."""
    if value is None:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    if isinstance(value, list):
        parts = []
        for part in value:
            if isinstance(part, str):
                parts.append(part)
            elif isinstance(part, dict) and part.get("type", "text") == "text" and "text" in part:
                parts.append(text_of(part["text"], troubles.PART, False))
            elif isinstance(part, dict):
                raise RowProblem(N_("a turn holds something other than text"), str(part.get("type"))[:40])
            else:
                raise RowProblem(N_("a turn's content is not text"))
        return "".join(parts)
    raise RowProblem(N_("a turn's content is not text"))


def system_of(values: Values, columns: Columns) -> list[Message]:
    """The system message from a column of its own, if there is one."""
    if "system" not in columns:
        return []
    text = text_of(values.get(columns["system"]), troubles.SYSTEM, False)
    return [Message("system", text)] if text.strip() else []


def prompt_text(values: Values, columns: Columns) -> str:
    """What is asked: the prompt, and the input below it where there is one."""
    prompt = text_of(values.get(columns["prompt"]), troubles.PROMPT)
    more = text_of(values.get(columns["input"]), troubles.INPUT, False) if "input" in columns else ""
    return f"{prompt}\n{more}" if more.strip() else prompt


def prompt_of(values: Values, columns: Columns) -> list[Message]:
    """The turns before an answer: a list of them, or one text that asks."""
    value = loads_if_json(values.get(columns["prompt"]))
    if isinstance(value, list):
        return turns_of(value)
    return [Message("user", prompt_text(values, columns))]


def answer_of(value: Any, wrong: Troubles) -> list[Message]:
    """An answer by itself: a text, a turn, or a list of either."""
    value = loads_if_json(value) if not isinstance(value, str) else value
    if isinstance(value, str):
        return [Message("assistant", text_of(value, wrong))]
    if isinstance(value, dict):
        return [message_of(value)]
    if isinstance(value, list) and value:
        return (
            turns_of(value)
            if isinstance(value[0], dict)
            else [Message("assistant", text_of(value[0], wrong))]
        )
    raise RowProblem(wrong.missing)


def history_of(value: Any) -> list[tuple[str, str]]:
    """Earlier rounds, as [[question, answer], …] or as turns."""
    value = loads_if_json(value)
    if not value:
        return []
    if not isinstance(value, list):
        raise RowProblem(N_("history is not a list"))
    if all(isinstance(item, dict) for item in value):
        turns = [message_of(item) for item in value]
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
