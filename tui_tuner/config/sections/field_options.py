"""The declaration of config fields, and the check of their limits."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tui_tuner.locales import _
from tui_tuner.text import one_line

Auto = Literal["auto"]


def accept_known_words(names: Collection[str], unknown: str) -> AfterValidator:
    """Make a validator that accepts only the names of a registry (`config.kinds`).

    `unknown` is the message for any other word: a sentence with places `value` and `names`, marked by `N_`.
    """

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(_(unknown, value=one_line(value, 80), names=", ".join(names)))
        return value

    return AfterValidator(check)


def declare_option(
    default: Any,
    help: str,
    explain: str = "",
    *,
    unit: str = "",
    choices: Any = None,
    words: Collection[str] = (),
    advanced: bool = False,
    **limits: Any,
) -> Any:
    """Declare a field: `help` of one line, `explain` for beginners, `limits` such as ge, gt, min_length.

    If `choices` are given, nothing else is accepted; `words` are special values next to any other text.
    """
    extra: dict[str, Any] = {"explain": explain, "unit": unit, "advanced": advanced, "limits": limits}
    if choices is not None:
        extra["choices"] = list(choices)
    if words:
        extra["words"] = list(words)
    return Field(default, description=help, json_schema_extra=extra)


class Section(BaseModel):
    """A part of a config. Unknown keys and values outside a field's limits are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: Any) -> Any:
        """Drop subsections without a value, so that they take their defaults."""
        if not isinstance(values, Mapping):
            return values
        # A section whose lines are all commented out reads as `key: null` in YAML.
        return {key: value for key, value in values.items() if value is not None or not _is_section(cls, key)}

    @field_validator("*")
    @classmethod
    def _within_limits(cls, value: Any, info: ValidationInfo) -> Any:
        """Check the limits of numbers and texts; `auto` and null pass."""
        # pydantic's own constraints (`Field(ge=0)`) fail on unions such as `int | Literal["auto"]`, so
        # limits are stored with the field and checked here.
        extra = cls.model_fields[info.field_name or ""].json_schema_extra
        limits = extra.get("limits", {}) if isinstance(extra, dict) else {}
        if limits and not _keeps_limits(value, limits):  # type: ignore[arg-type]
            raise PydanticCustomError("limits", "is out of range")
        return value


def _is_section(owner: type[BaseModel], key: Any) -> bool:
    field = owner.model_fields.get(key) if isinstance(key, str) else None
    return field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, Section)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
    "min_length": lambda text, least: len(text) >= least,
    "max_length": lambda text, most: len(text) <= most,
}


def _keeps_limits(value: Any, limits: Mapping[str, float]) -> bool:
    for name, limit in limits.items():
        kind = str if name.endswith("_length") else (int, float)
        if isinstance(value, kind) and not _COMPARE[name](value, limit):
            return False
    return True
