"""Weights by a pattern of their names (`method.pattern`): a shell pattern, or a regular expression."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_WORD = re.compile(r"[A-Za-z]\w*")
_SHOWN = 3


def choose_names(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a pattern means, in their order.

    A shell pattern fits a whole name: `model.layers.1.*` is layer 1, and not 10. Where it fits none, it is
    read as a regular expression, which is searched for anywhere in a name: `layers\\.(2|3)\\.`.
    """
    every = list(names)
    found = [name for name in every if fnmatchcase(name, pattern)]
    if found:
        return found
    try:
        wanted = re.compile(pattern)
    except re.error:
        return []
    return [name for name in every if wanted.search(name)]


def suggest_patterns(pattern: str, names: Iterable[str]) -> list[str]:
    """Return shell patterns for the weights whose names are nearest to a pattern that fits none."""
    # Layers have the same names, and one of them stands for all
    kinds = list(dict.fromkeys(_NUMBER.sub("*", name) for name in names))
    words = _WORD.findall(pattern)
    return sorted(kinds, key=lambda kind: -_count_likeness(words, kind.split(".")))[:_SHOWN]


def _count_likeness(words: list[str], parts: list[str]) -> float:
    """Return how many words of a pattern are like a part of a name; each counts from 0 to 1."""
    return sum(
        max(difflib.SequenceMatcher(None, word, part).ratio() for part in parts) for word in words if parts
    )
