"""Find the parts of a row that are not used: columns, and keys of turns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tui_tuner.data.formats.parts.chat_turns import CHAT_KEYS, list_round_leftovers
from tui_tuner.data.formats.parts.columns import parse_if_json
from tui_tuner.data.formats.parts.message import ROLE_KEYS, list_unused_keys
from tui_tuner.data.formats.parts.values import Columns, Values, is_empty

_OF_TURNS = ("messages", "prompt", "response", "chosen", "rejected", "history")  # roles that may hold turns


def find_leftovers(values: Values, columns: Columns) -> set[tuple[str, str]]:
    """Return ("column" or "key", name) for each part with a value that is not used."""
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
            # Parsing every text as JSON would be slow, so the first character decides.
            value = parse_if_json(value) if value[:1] in "[{ \n" else None
        if value is not None:
            found |= {("key", key) for key in _leftovers_in_turns(value)}
    return found


def _leftovers_in_turns(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield from _leftovers_in_turn(item)
    elif isinstance(value, dict):
        yield from _leftovers_in_turn(value)


def _leftovers_in_turn(item: dict[str, Any]) -> Iterator[str]:
    if item.keys() & set(ROLE_KEYS):
        yield from list_unused_keys(item)
        return
    held = next((key for key in CHAT_KEYS if isinstance(item.get(key), list)), None)
    if held:
        yield from _leftovers_in_turns(item[held])
        yield from (key for key, value in item.items() if key not in (held, "tools") and not is_empty(value))
    elif "answer_start" not in item:
        yield from (key for key in list_round_leftovers(item) if not is_empty(item[key]))
