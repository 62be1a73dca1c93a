"""From plain values to a config, and from a config to another with some values changed: always validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tui_tuner.config.problems import Places, problems_of
from tui_tuner.config.schema import RunConfig

Config = TypeVar("Config", bound=RunConfig)


def validated(kind: type[Config], values: Mapping[str, Any], places: Places | None = None) -> Config:
    """A config of this kind.

    Args:
        places: Where the values are from, for the message.

    Raises:
        ConfigError: with one sentence for each problem.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise (places or Places()).error(problems_of(error)) from None


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """A new config of the same kind with these values, such as `{"training.max_steps": 5}`.

    The given config stays as it is. Sections in which nothing changes are shared between the two.

    Raises:
        ConfigError: an unknown field, a wrong value, or values that contradict each other.
    """
    return validated(type(config), _replaced(config, values))


def _replaced(model: BaseModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model as a mapping, with changed values; a changed section is a mapping itself."""
    fields = dict(model)
    inner: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _unused, rest = path.partition(".")
        if rest and isinstance(fields.get(name), BaseModel):
            inner.setdefault(name, {})[rest] = value
        else:
            fields[path] = value
    for name, changes in inner.items():
        fields[name] = _replaced(fields[name], changes)
    return fields


def set_path(values: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in nested dicts, making the ones between."""
    *parents, last = path.split(".")
    for part in parents:
        inner = values.get(part)
        if not isinstance(inner, dict):
            inner = values[part] = {}
        values = inner
    values[last] = value
