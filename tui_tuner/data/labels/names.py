"""Name classes, whatever type a label has in a file, and define the order in which they are numbered."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from typing import Any

# "3.0" is how a table writes the whole number 3 in a column that lacks some values
_WHOLE = re.compile(r"[+-]?\d{1,15}\.0+")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def name_class(value: Any) -> str:
    """Return the name of a class: the same for 1, 1.0, "1" and "1.0"; `False` and `True` for booleans."""
    # A bool is an int for Python, and would become class 0 or 1.
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return str(int(float(text))) if _WHOLE.fullmatch(text) else text


def are_labels_listed(label: Any, separator: str | None) -> bool:
    """Return whether a row's label may be several classes: a list, or a text if there is a separator."""
    return isinstance(label, list) or (bool(separator) and isinstance(label, str))


def split_labels(label: Any, separator: str | None) -> list[Any]:
    """Split the label of a row into its labels.

    Args:
        separator: `data.label_separator`.
    """
    if isinstance(label, list):
        return label
    if separator and isinstance(label, str):
        return [part.strip() for part in label.split(separator) if part.strip()]
    return [label]


def parse_label_number(value: Any) -> float | None:
    """Return a label as a number, also one that is written as text; None for others and for booleans."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            found = float(value)
        # An integer beyond the range of floats is an id, and no value for a regression.
        except OverflowError:
            return None
    elif isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        found = float(value)
    else:
        return None
    return found if math.isfinite(found) else None


def is_whole_label(number: float) -> bool:
    """Return whether a number could be the id of a class."""
    return float(number).is_integer()


def hash_class(name: str) -> int:
    """Hash the name of a class to 64 signed bits, the same in every process."""
    # Not hash(): Python salts it, so processes would disagree.
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little", signed=True)


def sort_classes(names: Iterable[str]) -> list[str]:
    """Sort the names of classes as they are numbered: numbers by value, others alphabetically."""
    found = set(names)
    numbers = {name: parse_label_number(name) for name in found}
    if all(number is not None for number in numbers.values()):
        # As text, class 10 would come before class 2.
        return sorted(found, key=lambda name: (numbers[name], name))
    return sorted(found)
