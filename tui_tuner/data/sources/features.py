"""Read the class names in the schema of a columnar file, as the `datasets` library writes them.

The columns hold numbers, and the schema's metadata has the name of each. Rows get the names, because a number
means nothing to a person, or to a model that must learn what the classes are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

KEY = b"huggingface"
MOST_BYTES = 4 * 1024 * 1024  # of metadata: names of classes, and of columns


def find_class_converters(metadata: Mapping[bytes, bytes] | None) -> dict[str, Callable[[Any], Any]]:
    """Return a function for each column with classes, which replaces numbers with their names.

    Numbers without a name stay. A number below 0 means that there is no label, and becomes None.
    """
    written = (metadata or {}).get(KEY, b"")
    try:
        found: Any = json.loads(written) if 0 < len(written) <= MOST_BYTES else {}
        features = found["info"]["features"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    named = {str(column): _find_names(feature) for column, feature in features.items()}
    return {column: _make_converter(names) for column, names in named.items() if names}


def _find_names(feature: Any) -> list[str]:
    """Return the names for a column of classes, or of lists of classes; none for any other column."""
    # Lists are written in two ways, by older and newer versions of `datasets`.
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


def _make_converter(names: Sequence[str]) -> Callable[[Any], Any]:
    def name_class(value: Any) -> Any:
        if isinstance(value, list):
            return [name_class(item) for item in value]
        # A bool is an int for Python, but not a number of a class.
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        if value < 0:
            return None
        return names[value] if value < len(names) else value

    return name_class
