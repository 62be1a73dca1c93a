"""Read the tools that a model may call, and its calls, in the usual spellings."""

from __future__ import annotations

from typing import Any

from tui_tuner.data.formats.parts.columns import parse_if_json
from tui_tuner.data.formats.parts.values import Columns, Values
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_

_ARGUMENTS = ("arguments", "parameters", "input", "args")  # of OpenAI, Llama, Anthropic and others


def read_tools(values: Values, columns: Columns) -> list[Any] | None:
    """Return the tools of a row in OpenAI's form; None if it has none."""
    return _normalise_tools(parse_if_json(values.get(columns["tools"])) if "tools" in columns else None)


def find_tools(values: Values, columns: Columns) -> list[Any] | None:
    """Return the tools of a row, or those next to the messages inside of a chat object."""
    found = read_tools(values, columns)
    for role in ("messages", "prompt"):
        chat = values.get(columns[role]) if role in columns and not found else None
        if isinstance(chat, dict):
            found = _normalise_tools(parse_if_json(chat.get("tools")))
    return found


def _normalise_tools(value: Any) -> list[Any] | None:
    if value in (None, "", [], {}):
        return None
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise RowProblem(N_("tools are not a JSON list"))
    return [
        # Other programs leave out the outer object of OpenAI's form.
        tool if isinstance(tool, dict) and "function" in tool else {"type": "function", "function": tool}
        for tool in value
    ]


def read_calls(value: Any) -> list[dict[str, Any]] | None:
    """Read OpenAI's tool calls; arguments in JSON text become values, as templates expect."""
    value = parse_if_json(value)
    if not value:
        return None
    # A single call without a list, as in `function_call`.
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise RowProblem(N_("tool calls are not a list"))
    return [_normalise_call(item) for item in value]


def read_calls_from_text(value: Any) -> list[dict[str, Any]]:
    """Read ShareGPT's function_call: the JSON text of one call or several."""
    loaded = parse_if_json(value)
    if isinstance(loaded, dict):
        loaded = [loaded]
    if not isinstance(loaded, list) or not loaded:
        raise RowProblem(N_("a function call is not JSON"), str(value)[:60])
    return [_normalise_call(item) for item in loaded]


def _normalise_call(item: Any) -> dict[str, Any]:
    function = item.get("function", item) if isinstance(item, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowProblem(N_("a tool call has no name"))
    given: Any = next((function[key] for key in _ARGUMENTS if function.get(key) is not None), {})
    arguments = parse_if_json(given)
    # Some data sets write a call without arguments like this; templates need an object.
    if arguments == "":
        arguments = {}
    call: dict[str, Any] = {
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }
    if isinstance(item.get("id"), str):
        call["id"] = item["id"]
    return call
