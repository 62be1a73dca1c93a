"""Convert events to lines and back: `{"v":1,"run":…,"seq":…,"time":…,"rank":0,"kind":…,…}`.

Only this module knows the names of kinds. A line may come from an older or newer version, from a full disk or
from another program: unreadable values become None or a default, and nothing is raised. Fields of newer
versions are skipped.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, make_dataclass
from operator import itemgetter
from typing import Any, NamedTuple, cast, get_type_hints

import orjson

from tui_tuner.runs import events
from tui_tuner.runs.events import VERSION, Event, EventBody, Unknown, name_event_kind

_HEAD = ("v", "run", "seq", "time", "rank", "kind")
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_LATEST = 1e11  # Unix seconds (the year 5138); a later time is damage


def encode_event(event: Event) -> bytes:
    """Convert an event to one line with its newline.

    NaN and infinities become "nan", "inf" and "-inf", other values that JSON lacks their text.
    """
    line = {
        "v": event.version,
        "run": event.run,
        "seq": event.seq,
        "time": event.time,
        "rank": event.rank,
        "kind": name_event_kind(event.body),
    }
    line.update(list_event_fields(event.body))
    return orjson.dumps(convert_to_plain_json(line, spelt=True), default=str) + b"\n"


def list_event_fields(body: EventBody) -> dict[str, Any]:
    """Return the fields of an event that are written, by name; a pair becomes a list."""
    if isinstance(body, Unknown):
        return dict(body.fields)
    found = {}
    for slot in _SHAPES[type(body)].slots:
        value = getattr(body, slot.name)
        # A sparse field whose default is None is written even if it is 0, which says something there.
        if value or not slot.sparse or (value is not None and slot.default is None):
            found[slot.name] = list(value) if isinstance(value, tuple) else value
    return found


def decode_event_line(line: bytes) -> Event | None:
    """Convert a line to an event, or None if it is not a valid event. Newer versions are accepted."""
    found = peek_event_line(line)
    if found is None:
        return None
    kind, data = found
    run, get = data.get("run", ""), data.get
    try:
        return Event(
            make_event_body(kind, data),
            run if type(run) is str else str(run),
            int(get("seq", 0)),
            read_event_moment(data),
            int(get("rank", 0)),
            int(get("v", VERSION)),
            line,
        )
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def peek_event_line(line: bytes) -> tuple[type[EventBody], dict[str, Any]] | None:
    """Return the class of a line's event and its raw values, or None if the line is not an event.

    Sums over huge journals need only a few of the values.
    """
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    kind = data.get("kind") if isinstance(data, dict) else None
    return (_CLASSES.get(kind, Unknown), data) if isinstance(kind, str) else None


def make_event_body(kind: type[EventBody], data: Mapping[str, Any]) -> EventBody:
    """Make the event of a class from raw values; Unknown if a number without a default is damaged."""
    shape = _SHAPES.get(kind)
    if shape is None:
        return _make_unknown(data)
    try:
        values = shape.get(data)
    # A field is missing: the line was written by another version.
    except KeyError:
        return _read_fields(kind, data)
    if tuple(map(type, values)) not in shape.fine:
        return _read_fields(kind, data)
    lacks = data.keys().isdisjoint(shape.sparse_names)
    rest = shape.empty if lacks else [slot.read_field(data) for slot in shape.sparse]
    body: EventBody = shape.thawed(*values, *rest)
    # See `_ClassReader`: a frozen dataclass would set each field by a call of its own.
    body.__class__ = kind
    return body


def _read_fields(kind: type[EventBody], data: Mapping[str, Any]) -> EventBody:
    """Do the work of `make_event_body` for a line that differs from how this version writes it."""
    values = [slot.read_field(data) for slot in _SHAPES[kind].slots]
    return _make_unknown(data) if any(value is MISSING for value in values) else kind(*values)


def _make_unknown(data: Mapping[str, Any]) -> Unknown:
    return Unknown(str(data["kind"]), {name: value for name, value in data.items() if name not in _HEAD})


def read_event_moment(data: dict[str, Any]) -> float:
    """Return when an event was written [Unix seconds]; 0 if its line has no valid time."""
    time = data.get("time", 0.0)
    return float(time) if type(time) in (float, int) and 0 < time < _LATEST else 0.0


def read_float(value: Any, otherwise: Any = None) -> Any:
    """Convert a raw value to a float: a number, or the text of a non-finite one; else `otherwise`."""
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    return _NOT_FINITE.get(value, otherwise) if type(value) is str else otherwise


def convert_to_plain_json(value: Any, spelt: bool = False) -> Any:
    """Copy a value so that JSON can hold it: no lone surrogates, string keys; NaN and infinity as None, or
    spelled.
    """
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        # orjson refuses integers beyond 64 bits.
        return value if -(2**63) <= value < 2**64 else float(value) if abs(value) < 2**1000 else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else f"{value:f}" if spelt else None
    if isinstance(value, Mapping):
        return {str(key): convert_to_plain_json(item, spelt) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [convert_to_plain_json(item, spelt) for item in value]
    # numpy's scalars are neither int nor float.
    if isinstance(value, numbers.Real):
        return convert_to_plain_json(
            int(value) if isinstance(value, numbers.Integral) else float(value), spelt
        )
    return str(value)


# Readers of raw values: (value, default) to a value of the field's type.


def _to_whole(value: Any, default: Any) -> Any:
    if type(value) is int:
        return value
    return int(value) if type(value) is float and value.is_integer() and abs(value) < 2**63 else default


def _to_text(value: Any, default: Any) -> Any:
    if type(value) is str:
        return value
    return str(value) if isinstance(value, bool | int | float) else default


def _to_truth(value: Any, default: Any) -> Any:
    return bool(value) if isinstance(value, bool | int | float) else default


def _to_metrics(value: Any, default: Any) -> Any:
    if not isinstance(value, dict) or value is default:
        return default
    return {name: read_float(item) for name, item in value.items()}


def _to_pair(value: Any, default: Any) -> Any:
    if not isinstance(value, list) or len(value) != 2:
        return default
    return _to_whole(value[0], 0), _to_whole(value[1], 0)


def _if_of(kind: type) -> Callable[[Any, Any], Any]:
    return lambda value, default: value if isinstance(value, kind) else default


def _or_none(read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, default: read(value, None)


_NONE = type(None)
# By the type of a field: the types that need no conversion, the conversion of others, and the value for
# a field that is missing and has no default. A number has no such value: without it the event means
# nothing.
_READERS: dict[Any, tuple[tuple[type, ...], Callable[[Any, Any], Any], Any]] = {
    int: ((int,), _to_whole, MISSING),
    float: ((float,), read_float, MISSING),
    str: ((str,), _to_text, ""),
    bool: ((bool,), _to_truth, False),
    int | None: ((int, _NONE), _or_none(_to_whole), None),
    float | None: ((float, _NONE), _or_none(read_float), None),
    tuple[int, int]: ((), _to_pair, (0, 0)),
    Sequence[Any]: ((list,), _if_of(list), []),
    Mapping[str, Any]: ((dict,), _if_of(dict), {}),
    Mapping[str, Any] | None: ((dict, _NONE), _or_none(_if_of(dict)), None),
    Mapping[str, float | None]: ((), _to_metrics, {}),
    Any: ((), lambda value, default: value, None),
}


class _FieldReader(NamedTuple):
    """Reads one field of a class."""

    name: str
    types: tuple[type, ...]
    read: Callable[[Any, Any], Any]
    default: Any
    sparse: bool

    def read_field(self, data: Mapping[str, Any]) -> Any:
        """Return the field's value from raw values; MISSING if it is unreadable and has no default."""
        value = data.get(self.name, self.default)
        if type(value) in self.types or value is self.default:
            return value
        return self.read(value, self.default)


class _ClassReader(NamedTuple):
    """The fields of a class, prepared so that a line of this version is read in a few calls: the values that
    are always present, their possible types, the fields that are mostly absent, and their values then.

    `thawed` is the same class, not frozen. A frozen dataclass sets each field with a call of its own, which
    takes half of the time to read a long journal; so bodies are made from this one and then given their
    class.
    """

    slots: tuple[_FieldReader, ...]
    get: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    fine: frozenset[tuple[type, ...]]
    sparse: tuple[_FieldReader, ...]
    sparse_names: tuple[str, ...]
    empty: tuple[Any, ...]
    thawed: type


def _make_reader(kind: type[EventBody]) -> _ClassReader:
    hints = get_type_hints(kind)
    slots = []
    for item in fields(cast(Any, kind)):
        types, read, default = _READERS[hints[item.name]]
        if item.default is not MISSING:
            default = item.default
        slots.append(_FieldReader(item.name, types, read, default, bool(item.metadata.get("sparse"))))
    always = [slot for slot in slots if not slot.sparse]
    sparse = tuple(slot for slot in slots if slot.sparse)
    names = [slot.name for slot in always]
    # With one name itemgetter returns the value itself instead of a tuple.
    get = itemgetter(*names) if len(names) > 1 else lambda data: (data[names[0]],)
    fine = frozenset(itertools.product(*(slot.types for slot in always)))
    sparse_names, empty = tuple(slot.name for slot in sparse), tuple(slot.default for slot in sparse)
    thawed = make_dataclass(kind.__name__, [slot.name for slot in slots], bases=(EventBody,), slots=True)
    return _ClassReader(tuple(slots), get, fine, sparse, sparse_names, empty, thawed)


_CLASSES: dict[str, type[EventBody]] = {
    kind.KIND: kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, EventBody) and kind.KIND
}
_SHAPES = {kind: _make_reader(kind) for kind in _CLASSES.values()}
KINDS = frozenset(_CLASSES)
