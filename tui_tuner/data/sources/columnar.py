"""Read Parquet and Arrow files as plain rows, without the nulls that the format only filled in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.features import find_class_converters
from tui_tuner.data.sources.line_tally import check_row_tally
from tui_tuner.data.sources.native.process import MOST_ROW, read_native_batches
from tui_tuner.data.sources.sqltext import decode_sql_bytes
from tui_tuner.locales import N_
from tui_tuner.text import format_bytes

_REASONS = {
    "large": N_("the row is larger than {size}", size=format_bytes(MOST_ROW)),
    "text": N_("bytes that are not {encoding} text", encoding="UTF-8"),
}


def read_parquet(path: Path, name: str) -> Iterator[Row]:
    """Read the rows of a Parquet file, a few hundred in memory at a time.

    Raises:
        DataError: damaged, or not Parquet.
    """
    return _convert_batches("parquet", path, name)


def read_arrow(path: Path, name: str) -> Iterator[Row]:
    """Read the rows of an Arrow file or stream (Feather, and what `datasets` saves).

    Raises:
        DataError: damaged, or not Arrow.
    """
    return _convert_batches("arrow", path, name)


def _convert_batches(kind: str, path: Path, name: str) -> Iterator[Row]:
    number = expected = 0
    converters: dict[str, Callable[[Any], Any] | None] | None = None
    for found in read_native_batches(kind, path, name):
        if isinstance(found, int):
            expected = found
        elif found.batch is None:
            for _unused in range(found.rows):
                number += 1
                yield Row(Origin(name, number), {}, _REASONS[found.reason])
        else:
            # The first batch has the schema of the whole file.
            if converters is None:
                named = find_class_converters(found.batch.schema.metadata)
                converters = {
                    field.name: json.loads
                    if field.name in found.coded
                    else named.get(field.name) or _make_converter(field.type)
                    for field in found.batch.schema
                }
            for values in _list_rows(found.batch):
                number += 1
                yield Row(Origin(name, number), _convert_row(values, converters))
    # The last thing that comes is the count that the file gives of itself.
    check_row_tally(name, number, expected)


def _convert_row(
    values: dict[str, Any], converters: dict[str, Callable[[Any], Any] | None]
) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        convert = converters.get(name)
        if convert is not None and value is not None:
            binary = isinstance(value, bytes | bytearray)
            value = convert(value)
            if binary and value is None:
                # The column is dropped and not null: a picture is not a missing value.
                continue
        found[name] = value
    return found


def _make_converter(kind: Any) -> Callable[[Any], Any] | None:
    """Return a function that makes values of an Arrow type plain; None if they are plain already."""
    from pyarrow import types

    if types.is_struct(kind):
        # A struct has the keys of all rows, with null for those that this row did not have: they are left
        # out, or every message would seem to have every key.
        inner = {
            kind.field(place).name: _make_converter(kind.field(place).type)
            for place in range(kind.num_fields)
        }
        return lambda value: {
            name: _convert_value(inner[name], item) for name, item in value.items() if item is not None
        }
    if types.is_map(kind):
        # Unlike a struct, a map has the keys of its own row, so null values in it mean something.
        key, item = _make_converter(kind.key_type), _make_converter(kind.item_type)
        return lambda value: {
            str(_convert_value(key, k)): _convert_value(item, v) for k, v in _list_pairs(value)
        }
    if types.is_nested(kind) and hasattr(kind, "value_type"):
        one = _make_converter(kind.value_type)
        return None if one is None else lambda value: [_convert_value(one, item) for item in value]
    if types.is_floating(kind):
        # NaN is null, as in JSON, which has no other way to write it.
        return lambda value: value if math.isfinite(value) else None
    if types.is_decimal(kind):
        return _convert_decimal
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return lambda value: decode_sql_bytes(bytes(value))
    return None


def _convert_value(convert: Callable[[Any], Any] | None, value: Any) -> Any:
    return value if convert is None or value is None else convert(value)


def _list_pairs(value: Any) -> Any:
    return value.items() if isinstance(value, dict) else value


def _convert_decimal(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _list_rows(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a batch; dates that Python cannot hold (before year 1, after 9999) as numbers."""
    try:
        return list(batch.to_pylist())
    except (ArithmeticError, ValueError, LookupError):
        # One such value fails the whole batch; only then are values read one by one, which is slow.
        columns = {
            field.name: [_convert_scalar(item) for item in column]
            for field, column in zip(batch.schema, batch.columns, strict=True)
        }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _convert_scalar(scalar: Any) -> Any:
    import pyarrow

    try:
        return scalar.as_py()
    except (ArithmeticError, ValueError, LookupError):
        if isinstance(scalar, pyarrow.StructScalar):
            return {name: _convert_scalar(item) for name, item in scalar.items()}
        if isinstance(scalar, pyarrow.ListScalar | pyarrow.MapScalar):
            return [_convert_scalar(item) for item in scalar]
        return str(scalar.value)
