"""From a row's columns to a record, by the format that was recognised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from tui_tuner.data.formats import troubles
from tui_tuner.data.formats.columns import loads_if_json
from tui_tuner.data.formats.troubles import Troubles
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import (
    Chat,
    Judged,
    Labelled,
    Message,
    Preference,
    Question,
    Record,
    Tagged,
    Text,
)
from tui_tuner.locales import N_, _

_ROLES = {
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

Columns = dict[str, str]
Values = dict[str, Any]


def to_record(values: Values, format: str, columns: Columns) -> Record:
    """One record.

    Raises:
        RowProblem: the row lacks what the format needs, or holds something else.
    """
    return _CONVERTERS[format](values, columns)


def _text_of(value: Any, wrong: Troubles, required: bool = True) -> str:
    """A column's value as text; numbers and booleans are written out."""
    if isinstance(value, str):
        text = value
    elif value is None:
        text = ""
    elif isinstance(value, bool | int | float):
        text = str(value)
    else:
        raise RowProblem(wrong.not_text, _("it is a {kind}", kind=type(value).__name__))
    if required and not text.strip():
        raise RowProblem(wrong.empty if value is not None else wrong.missing)
    return text


def _prompt_response(values: Values, columns: Columns) -> Chat:
    prompt = _text_of(values.get(columns["prompt"]), troubles.PROMPT)
    more = _text_of(values.get(columns["input"]), troubles.INPUT, False) if "input" in columns else ""
    if more.strip():
        prompt = f"{prompt}\n{more}"
    messages = _system(values, columns)
    for question, answer in _history(values.get(columns["history"])) if "history" in columns else []:
        messages += [Message("user", question), Message("assistant", answer)]
    answer = _text_of(values.get(columns["response"]), troubles.RESPONSE)
    messages += [Message("user", prompt), Message("assistant", answer)]
    return Chat(messages, _tools(values, columns))


def _system(values: Values, columns: Columns) -> list[Message]:
    if "system" not in columns:
        return []
    text = _text_of(values.get(columns["system"]), troubles.SYSTEM, False)
    return [Message("system", text)] if text.strip() else []


def _tools(values: Values, columns: Columns) -> list[Any] | None:
    value = loads_if_json(values.get(columns["tools"])) if "tools" in columns else None
    if value in (None, "", [], {}):
        return None
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise RowProblem(N_("tools are not a JSON list"))
    return [
        tool if isinstance(tool, dict) and "function" in tool else {"type": "function", "function": tool}
        for tool in value
    ]


def _history(value: Any) -> list[tuple[str, str]]:
    """Earlier rounds, as [[question, answer], …] or as turns."""
    value = loads_if_json(value)
    if not value:
        return []
    if not isinstance(value, list):
        raise RowProblem(N_("history is not a list"))
    if all(isinstance(item, dict) for item in value):
        turns = [_message(item) for item in value]
        if len(turns) % 2 or any(t.role != ("user", "assistant")[i % 2] for i, t in enumerate(turns)):
            raise RowProblem(N_("history does not alternate between user and assistant"))
        return [(a.content or "", b.content or "") for a, b in zip(turns[::2], turns[1::2], strict=True)]
    rounds = []
    for item in value:
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise RowProblem(N_("history is not a list of question and answer"))
        rounds.append(
            (_text_of(item[0], troubles.EARLIER_QUESTION), _text_of(item[1], troubles.EARLIER_ANSWER))
        )
    return rounds


def _chat(values: Values, columns: Columns) -> Chat:
    messages = _turns(values.get(columns["messages"]))
    if not (messages and messages[0].role == "system"):
        messages = _system(values, columns) + messages
    if not any(message.role == "assistant" for message in messages):
        raise RowProblem(N_("no answer in the chat"))
    for message in messages:
        if message.role == "assistant" and not message.tool_calls and not (message.content or "").strip():
            raise RowProblem(N_("an answer in the chat is empty"))
    tools = _tools(values, columns)
    return Chat(messages, tools)


def _turns(value: Any) -> list[Message]:
    value = loads_if_json(value)
    if value is None or value == [] or value == "":
        raise RowProblem(N_("the chat is empty"))
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowProblem(
            N_("the chat is not a list of turns"), _("it is a {kind}", kind=type(value).__name__)
        )
    return [_message(item) for item in value]


def _message(item: dict[str, Any]) -> Message:
    """A turn in any of the customary spellings."""
    spoken = item.get("role", item.get("from"))
    if not isinstance(spoken, str):
        raise RowProblem(N_("a turn has no role"))
    role = _ROLES.get(spoken.strip().lower())
    if role is None:
        raise RowProblem(N_("unknown role"), repr(spoken)[:60])
    value = item.get("content", item.get("value", item.get("text")))
    train = _train_flag(item)
    if spoken.strip().lower() in ("function_call", "tool_call"):
        return Message("assistant", None, _calls_of_text(value), train=train)
    calls = _calls(item.get("tool_calls"))
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
                parts.append(_text_of(part["text"], troubles.PART, False))
            elif isinstance(part, dict):
                raise RowProblem(N_("a turn holds something other than text"), str(part.get("type"))[:40])
            else:
                raise RowProblem(N_("a turn's content is not text"))
        return "".join(parts)
    raise RowProblem(N_("a turn's content is not text"))


def _calls(value: Any) -> list[dict[str, Any]] | None:
    """OpenAI's tool calls; arguments that are JSON text become values, as templates expect."""
    value = loads_if_json(value)
    if not value:
        return None
    if not isinstance(value, list):
        raise RowProblem(N_("tool calls are not a list"))
    return [_call(item) for item in value]


def _call(item: Any) -> dict[str, Any]:
    function = item.get("function", item) if isinstance(item, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowProblem(N_("a tool call has no name"))
    arguments = loads_if_json(function.get("arguments", function.get("parameters", {})))
    if arguments in (None, ""):
        arguments = {}
    call: dict[str, Any] = {
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }
    if isinstance(item.get("id"), str):
        call["id"] = item["id"]
    return call


def _calls_of_text(value: Any) -> list[dict[str, Any]]:
    """ShareGPT's function_call: the JSON of one call, or of several, as text."""
    loaded = loads_if_json(value)
    if isinstance(loaded, dict):
        loaded = [loaded]
    if not isinstance(loaded, list) or not loaded:
        raise RowProblem(N_("a function call is not JSON"), str(value)[:60])
    return [_call(item) for item in loaded]


def _preference(values: Values, columns: Columns) -> Preference:
    chosen = _answer_turns(values.get(columns["chosen"]), troubles.CHOSEN)
    rejected = _answer_turns(values.get(columns["rejected"]), troubles.REJECTED)
    if "messages" in columns:
        prompt = _turns(values.get(columns["messages"]))
    elif "prompt" in columns:
        prompt = _prompt_turns(values, columns)
    else:
        # Both hold the whole chat: what they share in front is the prompt.
        shared = 0
        while (
            shared < min(len(chosen), len(rejected)) - 1
            and chosen[shared].plain() == rejected[shared].plain()
        ):
            shared += 1
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    # A layout that repeats the prompt inside the answers.
    chosen, rejected = _without(prompt, chosen), _without(prompt, rejected)
    if not any(message.role == "user" for message in prompt):
        raise RowProblem(N_("a preference row has no prompt"))
    if prompt[0].role != "system":
        prompt = _system(values, columns) + prompt
    return Preference(prompt, chosen, rejected, _tools(values, columns))


def _without(prompt: list[Message], answer: list[Message]) -> list[Message]:
    size = len(prompt)
    if len(answer) > size and [m.plain() for m in answer[:size]] == [m.plain() for m in prompt]:
        return answer[size:]
    return answer


def _prompt_turns(values: Values, columns: Columns) -> list[Message]:
    value = loads_if_json(values.get(columns["prompt"]))
    if isinstance(value, list):
        return _turns(value)
    prompt = _text_of(values.get(columns["prompt"]), troubles.PROMPT)
    more = _text_of(values.get(columns["input"]), troubles.INPUT, False) if "input" in columns else ""
    return [Message("user", f"{prompt}\n{more}" if more.strip() else prompt)]


def _answer_turns(value: Any, wrong: Troubles) -> list[Message]:
    value = loads_if_json(value) if not isinstance(value, str) else value
    if isinstance(value, str):
        return [Message("assistant", _text_of(value, wrong))]
    if isinstance(value, dict):
        return [_message(value)]
    if isinstance(value, list) and value:
        return (
            _turns(value) if isinstance(value[0], dict) else [Message("assistant", _text_of(value[0], wrong))]
        )
    raise RowProblem(wrong.missing)


def _kto(values: Values, columns: Columns) -> Judged:
    good = values.get(columns["good"])
    if isinstance(good, str) and good.strip().lower() in ("true", "false"):
        good = good.strip().lower() == "true"
    if not isinstance(good, bool):
        raise RowProblem(N_("the KTO label is neither true nor false"), repr(good)[:40])
    if "messages" in columns:
        messages = _turns(values.get(columns["messages"]))
    else:
        answer = _answer_turns(values.get(columns["response"]), troubles.ANSWER)
        messages = _prompt_turns(values, columns) + answer
    if messages[-1].role != "assistant":
        raise RowProblem(N_("the chat does not end with an answer"))
    if messages[0].role != "system":
        messages = _system(values, columns) + messages
    return Judged(messages, good, _tools(values, columns))


def _text(values: Values, columns: Columns) -> Text:
    return Text(_text_of(values.get(columns["text"]), troubles.TEXT))


def _label(value: Any) -> str | int | float | None:
    if value is None or isinstance(value, str | int | float):
        return value
    raise RowProblem(N_("the label is neither text nor a number"), type(value).__name__)


def _text_label(values: Values, columns: Columns) -> Labelled:
    label = _label(values.get(columns["label"]))
    if label is None or label == "":
        raise RowProblem(N_("the label is missing"))
    return Labelled(_text_of(values.get(columns["text"]), troubles.TEXT), label)


def _sentence_pair(values: Values, columns: Columns) -> Labelled:
    first = _text_of(values.get(columns["text"]), troubles.FIRST)
    second = _text_of(values.get(columns["pair"]), troubles.SECOND)
    label = _label(values.get(columns["label"])) if "label" in columns else None
    return Labelled(first, label, second)


def _token_tags(values: Values, columns: Columns) -> Tagged:
    tokens, tags = values.get(columns["tokens"]), values.get(columns["tags"])
    if not isinstance(tokens, list) or not isinstance(tags, list) or not tokens:
        raise RowProblem(N_("tokens or tags are not a list"))
    if len(tokens) != len(tags):
        raise RowProblem(
            N_("not as many tags as tokens"),
            _("{tokens} tokens, {tags} tags", tokens=len(tokens), tags=len(tags)),
        )
    if not all(isinstance(token, str) for token in tokens):
        raise RowProblem(N_("a token is not text"))
    if not all(isinstance(tag, str | int) for tag in tags):
        raise RowProblem(N_("a tag is neither text nor a number"))
    return Tagged(tokens, tags)


def _qa(values: Values, columns: Columns) -> Question:
    question = _text_of(values.get(columns["question"]), troubles.QUESTION)
    context = _text_of(values.get(columns["context"]), troubles.CONTEXT)
    found = values.get(columns["answers"])
    pairs: list[tuple[Any, Any]] = []
    if isinstance(found, dict):
        texts, starts = found.get("text", []), found.get("answer_start", [])
        if not isinstance(texts, list):
            texts, starts = [texts], [starts]
        if not isinstance(starts, list) or len(texts) != len(starts):
            raise RowProblem(N_("not as many answer starts as answers"))
        pairs = list(zip(texts, starts, strict=True))
    elif isinstance(found, list):
        pairs = [(a.get("text"), a.get("answer_start")) for a in found if isinstance(a, dict)]
    elif isinstance(found, str):
        pairs = [(found, context.find(found))]
    answers = []
    for text, start in pairs:
        if not isinstance(text, str) or not isinstance(start, int) or isinstance(start, bool):
            raise RowProblem(N_("an answer has no text or no start"))
        if start < 0 or context[start : start + len(text)] != text:
            raise RowProblem(
                N_("an answer is not at its answer_start"),
                _("{text!r} at {start}", text=text[:40], start=start),
            )
        answers.append((text, start))
    return Question(question, context, answers)


_CONVERTERS: dict[str, Callable[[Values, Columns], Record]] = {
    "alpaca": _prompt_response,
    "prompt_response": _prompt_response,
    "chatglm": _prompt_response,
    "sharegpt": _chat,
    "messages": _chat,
    "preference": _preference,
    "kto": _kto,
    "text": _text,
    "text_label": _text_label,
    "sentence_pair": _sentence_pair,
    "token_tags": _token_tags,
    "qa": _qa,
}
