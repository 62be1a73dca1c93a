"""Readers of Parquet and Arrow files: plain rows, without what the format only filled in."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from tui_tuner.data.records import Origin, Row
from tui_tuner.data.sources.lines import MAX_LINE
from tui_tuner.data.sources.sqltext import bytes_text
from tui_tuner.data.sources.tally import must_agree
from tui_tuner.errors import DataError
from tui_tuner.locales import N_, _
from tui_tuner.text import human_bytes, one_line

_BATCH_ROWS = 256


def read_parquet(path: Path, name: str) -> Iterator[Row]:
    """Rows of a Parquet file, a few hundred in memory at a time.

    Raises:
        DataError: damaged, or no Parquet.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as table:
            number = yield from _batches(table.iter_batches(batch_size=_BATCH_ROWS), name)
            expected = int(table.metadata.num_rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            _("is no readable Parquet: {error}.", error=one_line(error, 160)), where=one_line(name)
        ) from None
    must_agree(name, number, expected)


def read_arrow(path: Path, name: str) -> Iterator[Row]:
    """Rows of an Arrow file or stream (Feather, and what `datasets` saves).

    Raises:
        DataError: damaged, or no Arrow.
    """
    import pyarrow
    import pyarrow.ipc

    try:
        # Read and checked, not mapped: a damaged file's offset out of its memory would end the process
        with pyarrow.OSFile(str(path)) as source:
            try:
                table = pyarrow.ipc.open_file(source)
                batches: Any = (table.get_batch(i) for i in range(table.num_record_batches))
            except pyarrow.ArrowInvalid:
                source.seek(0)
                batches = pyarrow.ipc.open_stream(source)
            counts: list[int] = []
            number = yield from _batches(_small(batches, counts), name)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            _("is no readable Arrow file: {error}.", error=one_line(error, 160)), where=one_line(name)
        ) from None
    must_agree(name, number, sum(counts))


def _small(batches: Any, counts: list[int]) -> Iterator[Any]:
    for batch in batches:
        batch.validate(full=True)
        counts.append(batch.num_rows)
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS)


def _batches(batches: Any, name: str) -> Generator[Row, None, int]:
    """Rows of record batches; returns how many there were."""
    number = 0
    converters: dict[str, Callable[[Any], Any] | None] | None = None
    for batch in batches:
        if converters is None:
            converters = {field.name: _converter(field.type) for field in batch.schema}
        for values in _values(batch):
            number += 1
            origin = Origin(name, number)
            large = sum(len(value) for value in values.values() if isinstance(value, str | bytes))
            if large > MAX_LINE:
                yield Row(origin, {}, N_("the row is larger than {size}", size=human_bytes(MAX_LINE)))
            else:
                yield Row(origin, _plain(values, converters))
    return number


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

    if isinstance(kind, _extension()):
        return _converter(kind.storage_type)
    if types.is_dictionary(kind):
        return _converter(kind.value_type)
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


def _extension() -> Any:
    import pyarrow

    return pyarrow.BaseExtensionType


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
    except (OverflowError, ValueError):
        columns = {
            field.name: [_scalar(item) for item in column]
            for field, column in zip(batch.schema, batch.columns, strict=True)
        }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _scalar(scalar: Any) -> Any:
    import pyarrow

    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        if isinstance(scalar, pyarrow.StructScalar):
            return {name: _scalar(item) for name, item in scalar.items()}
        if isinstance(scalar, pyarrow.ListScalar | pyarrow.MapScalar):
            return [_scalar(item) for item in scalar]
        return str(scalar.value)
