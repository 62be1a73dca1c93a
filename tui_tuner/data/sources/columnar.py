"""Readers of Parquet and Arrow files: plain rows, without what the format only filled in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.features import class_converters
from tui_tuner.data.sources.native.process import MOST_ROW, batches
from tui_tuner.data.sources.sqltext import bytes_text
from tui_tuner.data.sources.tally import must_agree
from tui_tuner.locales import N_
from tui_tuner.text import human_bytes

_REASONS = {
    "large": N_("the row is larger than {size}", size=human_bytes(MOST_ROW)),
    "text": N_("bytes that are not {encoding} text", encoding="UTF-8"),
}


def read_parquet(path: Path, name: str) -> Iterator[Row]:
    """Rows of a Parquet file, a few hundred in memory at a time.

    Raises:
        DataError: damaged, or no Parquet.
    """
    return _rows("parquet", path, name)


def read_arrow(path: Path, name: str) -> Iterator[Row]:
    """Rows of an Arrow file or stream (Feather, and what `datasets` saves).

    Raises:
        DataError: damaged, or no Arrow.
    """
    return _rows("arrow", path, name)


def _rows(kind: str, path: Path, name: str) -> Iterator[Row]:
    number = expected = 0
    converters: dict[str, Callable[[Any], Any] | None] | None = None
    for found in batches(kind, path, name):
        if isinstance(found, int):
            expected = found
        elif found.batch is None:
            for _unused in range(found.rows):
                number += 1
                yield Row(Origin(name, number), {}, _REASONS[found.reason])
        else:
            if converters is None:
                named = class_converters(found.batch.schema.metadata)
                converters = {
                    field.name: json.loads
                    if field.name in found.coded
                    else named.get(field.name) or _converter(field.type)
                    for field in found.batch.schema
                }
            for values in _values(found.batch):
                number += 1
                yield Row(Origin(name, number), _plain(values, converters))
    must_agree(name, number, expected)


def _plain(values: dict[str, Any], converters: dict[str, Callable[[Any], Any] | None]) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        convert = converters.get(name)
        if convert is not None and value is not None:
            binary = isinstance(value, bytes | bytearray)
            value = convert(value)
            if binary and value is None:
                continue  # a picture or the like has no place in a row
        found[name] = value
    return found


def _converter(kind: Any) -> Callable[[Any], Any] | None:
    """What makes plain values of Python's, for a type of Arrow; None where they are plain already.

    A struct has the keys of all rows, and null in those that a row did not have: they are left out. Keys of a
    map are those of its row, with whatever they hold. Numbers that are none (NaN) are null, as in JSON.
    """
    from pyarrow import types

    if types.is_struct(kind):
        inner = {
            kind.field(place).name: _converter(kind.field(place).type) for place in range(kind.num_fields)
        }
        return lambda value: {
            name: _applied(inner[name], item) for name, item in value.items() if item is not None
        }
    if types.is_map(kind):
        key, item = _converter(kind.key_type), _converter(kind.item_type)
        return lambda value: {str(_applied(key, k)): _applied(item, v) for k, v in _pairs(value)}
    if types.is_nested(kind) and hasattr(kind, "value_type"):
        one = _converter(kind.value_type)
        return None if one is None else lambda value: [_applied(one, item) for item in value]
    if types.is_floating(kind):
        return lambda value: value if math.isfinite(value) else None
    if types.is_decimal(kind):
        return _decimal
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return lambda value: bytes_text(bytes(value))
    return None


def _applied(convert: Callable[[Any], Any] | None, value: Any) -> Any:
    return value if convert is None or value is None else convert(value)


def _pairs(value: Any) -> Any:
    return value.items() if isinstance(value, dict) else value


def _decimal(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _values(batch: Any) -> list[dict[str, Any]]:
    """Rows of a batch; moments that Python cannot name (before year 1, after 9999) as their numbers."""
    try:
        return list(batch.to_pylist())
    except (ArithmeticError, ValueError, LookupError):
        columns = {
            field.name: [_scalar(item) for item in column]
            for field, column in zip(batch.schema, batch.columns, strict=True)
        }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _scalar(scalar: Any) -> Any:
    import pyarrow

    try:
        return scalar.as_py()
    except (ArithmeticError, ValueError, LookupError):
        if isinstance(scalar, pyarrow.StructScalar):
            return {name: _scalar(item) for name, item in scalar.items()}
        if isinstance(scalar, pyarrow.ListScalar | pyarrow.MapScalar):
            return [_scalar(item) for item in scalar]
        return str(scalar.value)
