"""Building configs from plain values or from another config; the result is always validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tui_tuner.config.problems import Places, list_validation_problems
from tui_tuner.config.schema import RunConfig

Config = TypeVar("Config", bound=RunConfig)


def validate_values(kind: type[Config], values: Mapping[str, Any], places: Places | None = None) -> Config:
    """Validate plain values and return a config of this type.

    Args:
        places: The sources of the values, for messages.

    Raises:
        ConfigError: with one sentence for each problem.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise (places or Places()).make_error(list_validation_problems(error)) from None


def edit_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Return a copy of a config with some values replaced, such as `{"training.max_steps": 5}`.

    The given config does not change. The two share sections in which nothing changes.

    Raises:
        ConfigError: an unknown field, a wrong value, or values that contradict each other.
    """
    return validate_values(type(config), _replace_values(config, values))


def _replace_values(model: BaseModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a model with some values replaced; changed sections become mappings."""
    fields = dict(model)
    inner: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _unused, rest = path.partition(".")
        if rest and isinstance(fields.get(name), BaseModel):
            inner.setdefault(name, {})[rest] = value
        else:
            fields[path] = value
    for name, changes in inner.items():
        fields[name] = _replace_values(fields[name], changes)
    return fields


def set_config_path(values: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in nested dicts, creating the dicts on the way."""
    *parents, last = path.split(".")
    for part in parents:
        inner = values.get(part)
        if not isinstance(inner, dict):
            inner = values[part] = {}
        values = inner
    values[last] = value
