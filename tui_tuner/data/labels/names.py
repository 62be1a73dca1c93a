"""What a class is called, whatever type its label has in a file; and in which order classes are numbered."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from typing import Any

# "3.0" is how a table writes the whole number 3 in a column that lacks some values
_WHOLE = re.compile(r"[+-]?\d{1,15}\.0+")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def class_name(value: Any) -> str:
    """The name of a class: of 1, 1.0, "1" and "1.0" the same; of truth values `False` and `True`."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return str(int(float(text))) if _WHOLE.fullmatch(text) else text


def are_listed(label: Any, separator: str | None) -> bool:
    """Whether a row's label may be several classes: a list, or a text where something stands between them."""
    return isinstance(label, list) or (bool(separator) and isinstance(label, str))


def labels_of(label: Any, separator: str | None) -> list[Any]:
    """The labels of a row.

    Args:
        separator: `data.label_separator`.
    """
    if isinstance(label, list):
        return label
    if separator and isinstance(label, str):
        return [part.strip() for part in label.split(separator) if part.strip()]
    return [label]


def number_of(value: Any) -> float | None:
    """The number that a label is, or that it spells; None for all others. Truth values are no numbers."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            found = float(value)
        except OverflowError:
            return None
    elif isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        found = float(value)
    else:
        return None
    return found if math.isfinite(found) else None


def is_whole(number: float) -> bool:
    """Whether a number could be the id of a class."""
    return float(number).is_integer()


def class_hash(name: str) -> int:
    """64 signed bits for a class, the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of classes as they are numbered: numbers by their size, others by their letters."""
    found = set(names)
    numbers = {name: number_of(name) for name in found}
    if all(number is not None for number in numbers.values()):
        return sorted(found, key=lambda name: (numbers[name], name))
    return sorted(found)
