"""What a row holds that nothing is made of: its columns, and the keys of its turns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tui_tuner.data.formats.parts.columns import loads_if_json
from tui_tuner.data.formats.parts.message import ROLE_KEYS, unused_keys
from tui_tuner.data.formats.parts.turns import CHAT_KEYS, round_leftovers
from tui_tuner.data.formats.parts.values import Columns, Values, is_empty

_OF_TURNS = ("messages", "prompt", "response", "chosen", "rejected", "history")  # roles that may hold turns


def leftovers(values: Values, columns: Columns) -> set[tuple[str, str]]:
    """("column" or "key", name) of each; what holds nothing is none."""
    found = set()
    if len(values) > len(columns) or values.keys() - columns.values():
        used = columns.values()
        found = {
            ("column", str(name))
            for name, value in values.items()
            if name not in used and not is_empty(value)
        }
    for role, name in columns.items():
        value = values.get(name) if role in _OF_TURNS else None
        if isinstance(value, str):
            value = loads_if_json(value) if value[:1] in "[{ \n" else None
        if value is not None:
            found |= {("key", key) for key in _in_turns(value)}
    return found


def _in_turns(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield from _in_turn(item)
    elif isinstance(value, dict):
        yield from _in_turn(value)


def _in_turn(item: dict[str, Any]) -> Iterator[str]:
    if item.keys() & set(ROLE_KEYS):
        yield from unused_keys(item)
        return
    held = next((key for key in CHAT_KEYS if isinstance(item.get(key), list)), None)
    if held:
        yield from _in_turns(item[held])
        yield from (key for key, value in item.items() if key not in (held, "tools") and not is_empty(value))
    elif "answer_start" not in item:
        yield from (key for key in round_leftovers(item) if not is_empty(item[key]))
