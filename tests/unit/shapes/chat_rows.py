"""Chats of the kinds that people have, as rows of a JSONL file."""

from __future__ import annotations

import json
from typing import Any

Row = dict[str, Any]


def _turns(*texts: str, system: str | None = None) -> list[dict[str, Any]]:
    first = [{"role": "system", "content": system}] if system is not None else []
    return first + [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def _answer(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def _tool(name: str, what: str) -> dict[str, Any]:
    properties = {"port": {"type": "string", "description": "Its name"}}
    parameters = {"type": "object", "properties": properties, "required": ["port"]}
    return {
        "type": "function",
        "function": {"name": name, "description": what, "parameters": parameters},
    }


def _call(number: int, name: str, **arguments: Any) -> dict[str, Any]:
    # As OpenAI writes them: the arguments are JSON text.
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call0000{number}", "type": "function", "function": function}


def _result(number: int, name: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call0000{number}", "name": name, "content": content}


_TOOLS = [_tool("tide_table", "When the water is high."), _tool("ring_bell", "Rings it.")]
_ASKED = {"role": "user", "content": "High water in Tarn?"}
_CALL = _call(1, "tide_table", port="Tarn", days=3)
_TIDE = [_result(1, "tide_table", "At twelve past six"), _answer("Shortly after six.")]


def _with_tools(*turns: dict[str, Any]) -> Row:
    return {"messages": list(turns), "tools": _TOOLS}


def _think(reasoning: str, answer: str) -> str:
    return f"<think>\n{reasoning}\n</think>\n\n{answer}"


_SUMS = _turns("Two and two?", "Four.", "Three and three?", "Six.")


def _reasoned(key: str) -> list[dict[str, Any]]:
    one, answer, two, last = _SUMS
    return [one, {**answer, key: "A pair of pairs."}, two, {**last, key: "Twice a triple."}]


KINDS: dict[str, Row] = {
    "single": {"messages": _turns("How tall is the beacon?", "Forty metres.")},
    "several": {"messages": _turns("Who mends nets?", "Marta.", "Where?", "At the pier.", "When?", "Dusk.")},
    "system": {"messages": _turns("Is it high?", "At noon.", "Now?", "Falling.", system="A pilot speaks.")},
    "empty system": {"messages": _turns("Open?", "Until seven.", system="")},
    "tools": _with_tools(*_turns("Greet the baker.", "Hello, baker!")),
    "call": _with_tools(_ASKED, _answer(None, tool_calls=[_CALL]), *_TIDE),
    "two calls": _with_tools(
        _ASKED,
        _answer(None, tool_calls=[_CALL, _call(2, "ring_bell", port="Skerry")]),
        _TIDE[0],
        _result(2, "ring_bell", "It rang"),
        _TIDE[1],
    ),
    "call at the end": _with_tools(_ASKED, _answer(None, tool_calls=[_CALL])),
    "call with words": _with_tools(_ASKED, _answer("Let me look it up.", tool_calls=[_CALL]), *_TIDE),
    "reasoning": {"messages": _reasoned("reasoning_content")[2:]},
    "reasoning twice": {"messages": _reasoned("reasoning_content")},
    "reasoning under another key": {"messages": _reasoned("reasoning")[2:]},
    "thinking": {"messages": _reasoned("thinking")},
    "reasoning and call": _with_tools(
        _ASKED,
        _answer(None, tool_calls=[_CALL], reasoning_content="The table knows."),
        _TIDE[0],
        {**_TIDE[1], "reasoning_content": "Twelve past is shortly after."},
    ),
    "thinking inside": {
        "messages": _turns(
            "Two and two?",
            _think("A pair of pairs.", "Four."),
            "Three and three?",
            _think("Twice a triple.", "Six."),
        )
    },
    "only thinking": {"messages": [*_SUMS[:3], _answer("", reasoning_content="Twice a triple.")]},
    "parts": {
        "messages": [
            {**turn, "content": [{"type": "text", "text": turn["content"]}]}
            for turn in _turns("What floats?", "Cork does.", "What sinks?", "Lead does.")
        ]
    },
    "markers": {
        "messages": _turns(
            "What are <|over|>, </s> and <|ask|>?",
            "Tags: <|bot|> begins, <|over|> and </s> end.",
            "<|over|><|done|> [/ASK] thanks",
            "[ASK] is one too <|done|> so.",
        )
    },
    "Chinese": {
        "messages": _turns("春天的山？", "青翠欲滴。", "冬天呢？", "白雪皑皑。😀", system="你是诗人。")
    },
    "padded": {
        "messages": _turns("  Where?  \n", "  Under the mat.  ", "\nWhich?", "\n\nThe red one.\n\nThere.\n")
    },
    "repeated": {"messages": _turns("ok", "ok", "user", "assistant", "ok", "ok")},
    "flags": {
        "messages": [
            {**turn, **({"train": i == 3} if turn["role"] == "assistant" else {})}
            for i, turn in enumerate(_turns("First?", "A poor answer.", "Second?", "A fine answer."))
        ]
    },
    "answer first": {"messages": _turns("", "Welcome.", "When is the boat?", "At four.")[1:]},
}
