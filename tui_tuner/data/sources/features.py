"""Names of classes that a columnar file keeps beside its columns, as the `datasets` library writes them.

Its columns hold numbers; the schema's metadata has the name of each. Rows get the names, for a number says
nothing to a person, and nothing to a model that is to know what it tells apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

KEY = b"huggingface"
MOST_BYTES = 4 * 1024 * 1024  # of metadata: names of classes, and of columns


def class_converters(metadata: Mapping[bytes, bytes] | None) -> dict[str, Callable[[Any], Any]]:
    """What puts names in the place of numbers, for each column that has classes; numbers without a name stay.

    A number below 0 stands for no label: it becomes None.
    """
    written = (metadata or {}).get(KEY, b"")
    try:
        found: Any = json.loads(written) if 0 < len(written) <= MOST_BYTES else {}
        features = found["info"]["features"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    named = {str(column): _names_in(feature) for column, feature in features.items()}
    return {column: _converter(names) for column, names in named.items() if names}


def _names_in(feature: Any) -> list[str]:
    """The names of a column of classes, or of lists of classes; none for any other."""
    for _depth in range(3):
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and "feature" in feature:
            feature = feature["feature"]
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return []
    names = feature.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return []
    return names


def _converter(names: Sequence[str]) -> Callable[[Any], Any]:
    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(item) for item in value]
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        if value < 0:
            return None
        return names[value] if value < len(names) else value

    return named
