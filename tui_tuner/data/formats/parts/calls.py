"""Tools that a model may call, and its calls, in the customary spellings."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.parts.columns import loads_if_json
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.problems import RowProblem
from tui_tuner.locales import N_

_ARGUMENTS = ("arguments", "parameters", "input", "args")  # as OpenAI, Llama, Anthropic and others say


def tools_of(values: Values, columns: Columns) -> list[Any] | None:
    """The tools of a row as OpenAI writes them; None if it has none."""
    return _tools(loads_if_json(values.get(columns["tools"])) if "tools" in columns else None)


def tools_in(values: Values, columns: Columns) -> list[Any] | None:
    """The same, or those beside the messages of a chat that is an object, as OpenAI writes preferences."""
    found = tools_of(values, columns)
    for role in ("messages", "prompt"):
        chat = values.get(columns[role]) if role in columns and not found else None
        if isinstance(chat, dict):
            found = _tools(loads_if_json(chat.get("tools")))
    return found


def _tools(value: Any) -> list[Any] | None:
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


def calls_of(value: Any) -> list[dict[str, Any]] | None:
    """OpenAI's tool calls; arguments that are JSON text become values, as templates expect."""
    value = loads_if_json(value)
    if not value:
        return None
    if isinstance(value, dict):  # one call by itself, as in `function_call`
        value = [value]
    if not isinstance(value, list):
        raise RowProblem(N_("tool calls are not a list"))
    return [_call(item) for item in value]


def calls_of_text(value: Any) -> list[dict[str, Any]]:
    """ShareGPT's function_call: the JSON of one call, or of several, as text."""
    loaded = loads_if_json(value)
    if isinstance(loaded, dict):
        loaded = [loaded]
    if not isinstance(loaded, list) or not loaded:
        raise RowProblem(N_("a function call is not JSON"), str(value)[:60])
    return [_call(item) for item in loaded]


def _call(item: Any) -> dict[str, Any]:
    function = item.get("function", item) if isinstance(item, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowProblem(N_("a tool call has no name"))
    given: Any = next((function[key] for key in _ARGUMENTS if function.get(key) is not None), {})
    arguments = loads_if_json(given)
    if arguments == "":
        arguments = {}
    call: dict[str, Any] = {
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }
    if isinstance(item.get("id"), str):
        call["id"] = item["id"]
    return call
