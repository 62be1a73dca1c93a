"""Make a config from plain values or by changing another one; the result is always validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tui_tuner.config.problems import Places, problems_of
from tui_tuner.config.schema import RunConfig

Config = TypeVar("Config", bound=RunConfig)


def validate_values(kind: type[Config], values: Mapping[str, Any], places: Places | None = None) -> Config:
    """Validate plain values as a config of this kind.

    Args:
        places: The sources of the values, for messages.

    Raises:
        ConfigError: with one sentence for each problem.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise (places or Places()).make_error(problems_of(error)) from None


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Return a new config of the same kind with these values, such as `{"training.max_steps": 5}`.

    The given config stays as it is. Sections in which nothing changes are shared between the two.

    Raises:
        ConfigError: an unknown field, a wrong value, or values that contradict each other.
    """
    return validate_values(type(config), _replace_values(config, values))


def _replace_values(model: BaseModel, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's fields with changed values; a section that changes becomes a mapping."""
    # Sections without changes stay instances: pydantic takes those as they are, and validates only the others
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


def set_path(values: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in nested dicts, creating missing ones."""
    *parents, last = path.split(".")
    for part in parents:
        inner = values.get(part)
        # A null or a wrong value on the way is replaced too
        if not isinstance(inner, dict):
            inner = values[part] = {}
        values = inner
    values[last] = value
