"""Read turns of a chat: lists of turns, prompts, answers and earlier rounds, in the usual layouts."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.parts import troubles
from tui_tuner.data.formats.parts.columns import Column, ColumnSample, parse_if_json
from tui_tuner.data.formats.parts.message import CONTENT_KEYS, ROLE_KEYS, read_messages
from tui_tuner.data.formats.parts.transcripts import is_transcript, read_transcript
from tui_tuner.data.formats.parts.troubles import TextProblems
from tui_tuner.data.formats.parts.values import Columns, Values, read_text_value
from tui_tuner.data.records import Message
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_, _

FROM_VALUE = ("from", "value")  # the keys of a turn in ShareGPT
ROLE_CONTENT = ("role", "content")
CHAT_KEYS = ("messages", "conversations", "conversation")  # keys of the turns if a chat is an object

# Rounds: the question and the answer in one object, as in MOSS, Firefly and XTuner
_ASKS = ("human", "user", "input", "question", "prompt", "instruction")
_ANSWERS = ("assistant", "gpt", "bot", "output", "answer", "response")


def find_chat_shape(value: Any) -> str:
    """Return the shape of a chat: `from_value`, `role_content`, `rounds`, `pairs` or `texts`; else empty.

    A plain list of texts (`texts`), or of texts in twos (`pairs`), is a chat only if the column has the name
    of one: questions and answers then alternate.
    """
    value = parse_if_json(value)
    if isinstance(value, dict):
        inner = _find_turns(value)
        return find_chat_shape(inner) if inner is not None else ""
    if not isinstance(value, list) or not value:
        return ""
    first = value[0]
    if isinstance(first, dict):
        keys = set(first)
        if {"from", "value"} <= keys:
            return "from_value"
        if keys & set(ROLE_KEYS) and keys & {*CONTENT_KEYS, "tool_calls", "function_call"}:
            return "role_content"
        return "rounds" if _find_round_keys(first) else ""
    if all(isinstance(item, str) for item in value):
        return "texts" if len(value) > 1 else ""
    if all(isinstance(item, list | tuple) and len(item) == 2 for item in value):
        return "pairs" if all(isinstance(text, str) for item in value for text in item) else ""
    return ""


def find_turn_keys(column: Column) -> tuple[str, str] | None:
    """Return the keys of role and content in a column of turns; None if it holds no turns."""
    shape = find_chat_shape(column.example)
    return {"from_value": FROM_VALUE, "role_content": ROLE_CONTENT}.get(shape)


def list_turn_columns(sample: ColumnSample) -> list[Column]:
    """List the columns that hold turns and have the name of a chat."""
    return [column for column in sample.find_named("messages") if find_chat_shape(column.example)]


def read_turns(value: Any) -> list[Message]:
    """Read a list of turns in any layout, as JSON, or as a transcript.

    Raises:
        RowProblem: the value is not a chat, or empty.
    """
    if is_transcript(value):
        return read_transcript(value)
    value = parse_if_json(value)
    if isinstance(value, dict) and _find_turns(value) is not None:
        value = parse_if_json(_find_turns(value))
    if value is None or value == [] or value == "":
        raise RowProblem(N_("the chat is empty"))
    shape = find_chat_shape(value)
    # Two by two: questions and answers alternate.
    if shape == "texts":
        value = [value[number : number + 2] for number in range(0, len(value), 2)]
    if shape in ("texts", "pairs"):
        return [_make_bare_turn(text, answers) for round_ in value for answers, text in enumerate(round_)]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowProblem(
            N_("the chat is not a list of turns"), _("it is a {kind}", kind=type(value).__name__)
        )
    if shape == "rounds":
        return [message for item in value for message in _read_round(item)]
    return [message for item in value for message in read_messages(item)]


def _make_bare_turn(text: str, answers: int) -> Message:
    return Message("assistant" if answers else "user", text)


def _find_turns(value: dict[str, Any]) -> Any:
    """Return the turns in an object; None if it has none."""
    return next((value[key] for key in CHAT_KEYS if isinstance(parse_if_json(value.get(key)), list)), None)


def _find_round_keys(item: dict[str, Any]) -> tuple[str, str] | None:
    ask, answer = [next((key for key in keys if key in item), "") for keys in (_ASKS, _ANSWERS)]
    return (ask, answer) if ask and answer and not set(ROLE_KEYS) & set(item) else None


def list_round_leftovers(item: dict[str, Any]) -> set[str]:
    """Return the keys of a round that are not used."""
    return set(item) - {*(_find_round_keys(item) or ()), "system"}


def _read_round(item: dict[str, Any]) -> list[Message]:
    keys = _find_round_keys(item)
    if not keys:
        raise RowProblem(N_("a turn has no role"))
    system = read_text_value(item.get("system"), troubles.SYSTEM, False)
    found = [Message("system", system)] if system.strip() else []
    found.append(Message("user", read_text_value(item[keys[0]], troubles.PROMPT, False)))
    return [*found, Message("assistant", read_text_value(item[keys[1]], troubles.RESPONSE))]


def read_system_message(values: Values, columns: Columns) -> list[Message]:
    """Read the system message from its column, if there is one."""
    if "system" not in columns:
        return []
    text = read_text_value(values.get(columns["system"]), troubles.SYSTEM, False)
    return [Message("system", text)] if text.strip() else []


def read_prompt_text(values: Values, columns: Columns) -> str:
    """Return the text of the prompt, with the input below it if there is one."""
    # If the instruction is empty, the input alone is the prompt.
    more = read_text_value(values.get(columns["input"]), troubles.INPUT, False) if "input" in columns else ""
    prompt = read_text_value(values.get(columns["prompt"]), troubles.PROMPT, not more.strip())
    if not prompt.strip():
        return more
    return f"{prompt}\n{more}" if more.strip() else prompt


def read_prompt_turns(values: Values, columns: Columns) -> list[Message]:
    """Read the turns before an answer from a list, a transcript or a text."""
    value = values.get(columns["prompt"])
    if is_transcript(value) or isinstance(value, dict | list) or find_chat_shape(value) in _TYPED:
        return read_turns(value)
    return [Message("user", read_prompt_text(values, columns))]


_TYPED = ("from_value", "role_content")


def read_answer_turns(value: Any, wrong: TextProblems, whole: bool = False) -> list[Message]:
    """Read an answer from a text, a turn or a list of turns; of SQuAD's equivalent answers the first.

    Args:
        whole: A text may contain the whole chat that ends with the answer, as a transcript or as JSON.
    """
    if whole and is_transcript(value):
        return read_transcript(value)
    if find_chat_shape(value) in _TYPED and (whole or not isinstance(value, str)):
        return read_turns(value)
    if isinstance(value, dict) and set(value) & set(ROLE_KEYS):
        return read_messages(value)
    # Some preference sets write each answer as a list of one text.
    if whole and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    return [Message("assistant", read_text_value(_first_answer(value), wrong))]


def _first_answer(value: Any) -> Any:
    """Return the first text of SQuAD's `{"text": […], "answer_start": […]}` or `[{"text": …}, …]`."""
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


def read_chat_history(value: Any) -> list[tuple[str, str]]:
    """Read earlier rounds from [[question, answer], …] or from turns."""
    value = parse_if_json(value)
    if not value:
        return []
    if not isinstance(value, list):
        raise RowProblem(N_("history is not a list"))
    if all(isinstance(item, dict) for item in value):
        turns = read_turns(value)
        # The format has no place for other roles, so anything else would be lost.
        if len(turns) % 2 or any(t.role != ("user", "assistant")[i % 2] for i, t in enumerate(turns)):
            raise RowProblem(N_("history does not alternate between user and assistant"))
        return [(a.content or "", b.content or "") for a, b in zip(turns[::2], turns[1::2], strict=True)]
    rounds = []
    for item in value:
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise RowProblem(N_("history is not a list of question and answer"))
        rounds.append(
            (
                read_text_value(item[0], troubles.EARLIER_QUESTION),
                read_text_value(item[1], troubles.EARLIER_ANSWER),
            )
        )
    return rounds
