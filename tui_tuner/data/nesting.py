"""Limit how deeply a row may be nested."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Chats with tools have about 10 levels, and a tree of 50 replies has 100; orjson writes 254, and functions
# that walk a row recursively reach Python's limit at 1,000.
MAX_DEPTH = 128


def is_nested_deeper(values: Iterable[Any], most: int) -> bool:
    """Return whether values are nested more than `most` levels deep."""
    level = [value for value in values if type(value) is list or type(value) is dict]
    while level:
        if most == 0:
            return True
        most -= 1
        level = [
            item
            for value in level
            for item in (value.values() if type(value) is dict else value)
            if type(item) is list or type(item) is dict
        ]
    return False
