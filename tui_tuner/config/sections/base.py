"""How a field of a section is declared, and how it is held to its limits."""

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


def known(names: Collection[str], unknown: str) -> AfterValidator:
    """Hold a word to the names of a registry (`config.kinds`).

    `unknown` is what is said of another one: a sentence with the places `value` and `names`, marked by `N_`.
    """

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(_(unknown, value=one_line(value, 80), names=", ".join(names)))
        return value

    return AfterValidator(check)


def option(
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

    Nothing but `choices` is taken where they are given; `words` are taken beside any other text.
    """
    extra: dict[str, Any] = {"explain": explain, "unit": unit, "advanced": advanced, "limits": limits}
    if choices is not None:
        extra["choices"] = list(choices)
    if words:
        extra["words"] = list(words)
    return Field(default, description=help, json_schema_extra=extra)


class Section(BaseModel):
    """A part of a config. An unknown key is an error, and so is a value outside of a field's limits."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: Any) -> Any:
        """A section of which nothing but comments is left in a file is one at its defaults."""
        if not isinstance(values, Mapping):
            return values
        return {key: value for key, value in values.items() if value is not None or not _is_section(cls, key)}

    @field_validator("*")
    @classmethod
    def _within_limits(cls, value: Any, info: ValidationInfo) -> Any:
        """Hold numbers and texts to their limits; `auto` and null pass (pydantic's own choke on unions)."""
        extra = cls.model_fields[info.field_name or ""].json_schema_extra
        limits = extra.get("limits", {}) if isinstance(extra, dict) else {}
        if limits and not _within(value, limits):  # type: ignore[arg-type]
            raise PydanticCustomError("limits", "is out of its limits")
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


def _within(value: Any, limits: Mapping[str, float]) -> bool:
    for name, limit in limits.items():
        kind = str if name.endswith("_length") else (int, float)
        if isinstance(value, kind) and not _COMPARE[name](value, limit):
            return False
    return True
