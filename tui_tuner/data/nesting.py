"""How deep a row may be nested."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Chats with tools have about 10 levels, and a tree of 50 replies has 100; orjson writes 254, and what walks a
# row by calling itself has 1,000 calls at most.
MAX_DEPTH = 128


def is_deeper(values: Iterable[Any], most: int) -> bool:
    """Whether values are nested more than so many levels."""
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
