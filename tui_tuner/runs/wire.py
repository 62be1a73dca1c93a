"""Events as lines: `{"v":1,"run":…,"seq":…,"time":…,"rank":0,"kind":…,…}`. Nobody else knows names of kinds.

A line may come from an older or a newer version, from a disk that was full or from somebody else: what cannot
be read is None or a default, and nothing is raised. Fields of newer versions are passed over.
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
from tui_tuner.runs.events import VERSION, Body, Event, Unknown, kind_of

_HEAD = ("v", "run", "seq", "time", "rank", "kind")
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_LATEST = 1e11  # Unix seconds (the year 5138) beyond which a time is damage, and no clock shows it


def encode(event: Event) -> bytes:
    """One line, newline included. What JSON has not: NaN and infinities become "nan", "inf" and "-inf", other
    things their text.
    """
    line = {
        "v": event.version,
        "run": event.run,
        "seq": event.seq,
        "time": event.time,
        "rank": event.rank,
        "kind": kind_of(event.body),
    }
    line.update(fields_of(event.body))
    return orjson.dumps(plain(line, spelt=True), default=str) + b"\n"


def fields_of(body: Body) -> dict[str, Any]:
    """The fields of an event that stand in its line, by name; a pair is a list there."""
    if isinstance(body, Unknown):
        return dict(body.fields)
    found = {}
    for slot in _SHAPES[type(body)].slots:
        value = getattr(body, slot.name)
        if value or not slot.sparse or (value is not None and slot.default is None):
            found[slot.name] = list(value) if isinstance(value, tuple) else value
    return found


def decode(line: bytes) -> Event | None:
    """An event, or None for a line that is none (torn, damaged, not ours). Newer versions are accepted."""
    found = peek(line)
    if found is None:
        return None
    kind, data = found
    run, get = data.get("run", ""), data.get
    try:
        return Event(
            body_of(kind, data),
            run if type(run) is str else str(run),
            int(get("seq", 0)),
            moment(data),
            int(get("rank", 0)),
            int(get("v", VERSION)),
            line,
        )
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def peek(line: bytes) -> tuple[type[Body], dict[str, Any]] | None:
    """The class of a line's event and its raw values, for sums over huge journals that need few of them; None
    for a line that is no event.
    """
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    kind = data.get("kind") if isinstance(data, dict) else None
    return (_CLASSES.get(kind, Unknown), data) if isinstance(kind, str) else None


def body_of(kind: type[Body], data: Mapping[str, Any]) -> Body:
    """The event of a class from a line's raw values; Unknown if a number that has no default is damaged."""
    shape = _SHAPES.get(kind)
    if shape is None:
        return _unknown(data)
    try:
        values = shape.get(data)
    except KeyError:  # written by another version
        return _read(kind, data)
    if tuple(map(type, values)) not in shape.fine:
        return _read(kind, data)
    lacks = data.keys().isdisjoint(shape.sparse_names)
    rest = shape.empty if lacks else [slot.of(data) for slot in shape.sparse]
    body: Body = shape.thawed(*values, *rest)
    body.__class__ = kind
    return body


def _read(kind: type[Body], data: Mapping[str, Any]) -> Body:
    """`body_of` for a line that is not as this version writes it."""
    values = [slot.of(data) for slot in _SHAPES[kind].slots]
    return _unknown(data) if any(value is MISSING for value in values) else kind(*values)


def _unknown(data: Mapping[str, Any]) -> Unknown:
    return Unknown(str(data["kind"]), {name: value for name, value in data.items() if name not in _HEAD})


def moment(data: dict[str, Any]) -> float:
    """When an event was written [Unix seconds]; 0 where its line does not tell."""
    time = data.get("time", 0.0)
    return float(time) if type(time) in (float, int) and 0 < time < _LATEST else 0.0


def real(value: Any, otherwise: Any = None) -> Any:
    """A float from a raw value: a number, or the text of one that is not finite; or else `otherwise`."""
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value)
    return _NOT_FINITE.get(value, otherwise) if type(value) is str else otherwise


def plain(value: Any, spelt: bool = False) -> Any:
    """A copy that JSON can hold: no lone surrogates, string keys; NaN and infinity as None, or spelt out."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else float(value) if abs(value) < 2**1000 else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else f"{value:f}" if spelt else None
    if isinstance(value, Mapping):
        return {str(key): plain(item, spelt) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, spelt) for item in value]
    if isinstance(value, numbers.Real):  # numpy's
        return plain(int(value) if isinstance(value, numbers.Integral) else float(value), spelt)
    return str(value)


# Readers of raw values: (value, default) to a value of the field's type.


def _whole(value: Any, default: Any) -> Any:
    if type(value) is int:
        return value
    return int(value) if type(value) is float and value.is_integer() and abs(value) < 2**63 else default


def _text(value: Any, default: Any) -> Any:
    if type(value) is str:
        return value
    return str(value) if isinstance(value, bool | int | float) else default


def _truth(value: Any, default: Any) -> Any:
    return bool(value) if isinstance(value, bool | int | float) else default


def _metrics(value: Any, default: Any) -> Any:
    if not isinstance(value, dict) or value is default:
        return default
    return {name: real(item) for name, item in value.items()}


def _pair(value: Any, default: Any) -> Any:
    if not isinstance(value, list) or len(value) != 2:
        return default
    return _whole(value[0], 0), _whole(value[1], 0)


def _if_of(kind: type) -> Callable[[Any, Any], Any]:
    return lambda value, default: value if isinstance(value, kind) else default


def _or_none(read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, default: read(value, None)


_NONE = type(None)
# By the type of a field: the types that need no reading, how to read others, and what stands for a missing
# value of a field without a default. A number has nothing to stand for it: the event says nothing then.
_READERS: dict[Any, tuple[tuple[type, ...], Callable[[Any, Any], Any], Any]] = {
    int: ((int,), _whole, MISSING),
    float: ((float,), real, MISSING),
    str: ((str,), _text, ""),
    bool: ((bool,), _truth, False),
    int | None: ((int, _NONE), _or_none(_whole), None),
    float | None: ((float, _NONE), _or_none(real), None),
    tuple[int, int]: ((), _pair, (0, 0)),
    Sequence[Any]: ((list,), _if_of(list), []),
    Mapping[str, Any]: ((dict,), _if_of(dict), {}),
    Mapping[str, Any] | None: ((dict, _NONE), _or_none(_if_of(dict)), None),
    Mapping[str, float | None]: ((), _metrics, {}),
    Any: ((), lambda value, default: value, None),
}


class _Slot(NamedTuple):
    """How a field of a class is read."""

    name: str
    types: tuple[type, ...]
    read: Callable[[Any, Any], Any]
    default: Any
    sparse: bool

    def of(self, data: Mapping[str, Any]) -> Any:
        """The field's value from a line's raw values; MISSING if it cannot be read and has no default."""
        value = data.get(self.name, self.default)
        if type(value) in self.types or value is self.default:
            return value
        return self.read(value, self.default)


class _Shape(NamedTuple):
    """The fields of a class; and what reads a line as this version writes it in a few calls: the values that
    are always there, the types they may have, the fields that are mostly not there, and their values then.

    `thawed` is the class but for being frozen. A frozen dataclass sets each field with a call of its own,
    half of the time to read a long journal; so bodies are made of this one, and then given their class.
    """

    slots: tuple[_Slot, ...]
    get: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    fine: frozenset[tuple[type, ...]]
    sparse: tuple[_Slot, ...]
    sparse_names: tuple[str, ...]
    empty: tuple[Any, ...]
    thawed: type


def _shape(kind: type[Body]) -> _Shape:
    hints = get_type_hints(kind)
    slots = []
    for item in fields(cast(Any, kind)):
        types, read, default = _READERS[hints[item.name]]
        if item.default is not MISSING:
            default = item.default
        slots.append(_Slot(item.name, types, read, default, bool(item.metadata.get("sparse"))))
    always = [slot for slot in slots if not slot.sparse]
    sparse = tuple(slot for slot in slots if slot.sparse)
    names = [slot.name for slot in always]
    get = itemgetter(*names) if len(names) > 1 else lambda data: (data[names[0]],)
    fine = frozenset(itertools.product(*(slot.types for slot in always)))
    sparse_names, empty = tuple(slot.name for slot in sparse), tuple(slot.default for slot in sparse)
    thawed = make_dataclass(kind.__name__, [slot.name for slot in slots], bases=(Body,), slots=True)
    return _Shape(tuple(slots), get, fine, sparse, sparse_names, empty, thawed)


_CLASSES: dict[str, type[Body]] = {
    kind.KIND: kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Body) and kind.KIND
}
_SHAPES = {kind: _shape(kind) for kind in _CLASSES.values()}
KINDS = frozenset(_CLASSES)
