"""Descriptions of the fields of `RunConfig` for forms, flags and messages, derived from the schema."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import DataError, HardwareError, ModelError, TunerError
from tui_tuner.locales import N_, _
from tui_tuner.text import join_sentence_items

# The field to show for an error that names none
_BY_KIND: tuple[tuple[type[TunerError], str], ...] = (
    (DataError, "data.path"),
    (ModelError, "model.name"),
    (HardwareError, "hardware.devices"),
)


@dataclass(frozen=True)
class Option:
    """One field. `path` is dotted; `kinds` are the plain types it accepts; `choices` its fixed words."""

    path: str
    section: str
    kinds: tuple[type, ...]
    choices: tuple[str, ...]
    optional: bool
    default: Any
    help: str
    explain: str
    unit: str
    advanced: bool
    limits: tuple[tuple[str, float], ...]

    @property
    def has_auto(self) -> bool:
        return "auto" in self.choices

    @property
    def only_choices(self) -> bool:
        """Return whether the field accepts only `choices`, so that a form can offer a select."""
        return bool(self.choices) and not self.kinds

    def describe_expected(self, unit: str = "", nothing: str = "null") -> str:
        """Describe the values that the field accepts: `a whole number of at least 1 or auto`.

        Args:
            unit: The unit of its numbers.
            nothing: The word for null.
        """
        names = {
            int: _("a whole number"),
            float: _("a number"),
            bool: _("true or false"),
            str: _("text"),
            list: _("a list"),
            dict: _("a mapping"),
        }
        # int | float is "a number"; "a whole number or a number" would only confuse
        kinds = [kind for kind in self.kinds if not (kind is int and float in self.kinds)]
        parts = [names.get(kind, kind.__name__) for kind in kinds]
        limits = [_(words, value=_write_number(value)) for words, value in self.limits]
        if limits and parts:
            parts[0] = _("{kind} {limits}", kind=parts[0], limits=join_sentence_items(limits))
        if unit and parts:
            parts[0] = f"{parts[0]} {unit}"
        parts += self.choices
        if self.optional:
            parts.append(nothing)
        if len(parts) > 1 and names[bool] in parts:
            place = parts.index(names[bool])
            parts[place : place + 1] = ["true", "false"]
        if len(parts) == 1:
            return parts[0]
        return _("{others} or {last}", others=", ".join(parts[:-1]), last=parts[-1])


def _write_number(value: float) -> str:
    """Format a limit: whole numbers with separators, others in short form."""
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


@cache
def list_options() -> dict[str, Option]:
    """Return every field of `RunConfig` by its dotted path, in the order of the schema."""
    return {option.path: option for option in _walk_fields(RunConfig, "")}


def find_known_field(name: str) -> str:
    """Return the field that a dotted name names or lies in; empty if there is none."""
    parts = name.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in list_options()), "")


def find_error_field(error: TunerError) -> str:
    """Return the field that an error is about: the one it names or points at, else one by its type."""
    named = next(filter(None, map(find_known_field, (error.field, error.where))), "")
    return named or next((path for kind, path in _BY_KIND if isinstance(error, kind)), "")


def list_section_helps() -> dict[str, str]:
    """Return each section's one line of help."""
    return {
        name: info.description or ""
        for name, info in RunConfig.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    }


def get_config_value(config: BaseModel, path: str) -> Any:
    """Return the value at a dotted path."""
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _walk_fields(model: type[BaseModel], prefix: str) -> Iterator[Option]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _walk_fields(annotation, f"{path}.")
        else:
            yield _make_option(path, info)


_WORDS = {
    "ge": N_("of at least {value}"),
    "gt": N_("above {value}"),
    "le": N_("at most {value}"),
    "lt": N_("below {value}"),
}


def _make_option(path: str, info: FieldInfo) -> Option:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    kinds, choices, optional = _split_annotation(info.annotation)
    if extra.get("choices"):
        choices, kinds = tuple(str(word) for word in extra["choices"]), ()  # type: ignore[union-attr]
    words: Any = extra.get("words") or ()
    declared: Any = extra.get("limits") or {}
    limits = tuple((_WORDS[name], float(value)) for name, value in declared.items() if name in _WORDS)
    return Option(
        path=path,
        section=path.split(".")[0] if "." in path else "",
        kinds=kinds,
        choices=(*choices, *map(str, words)),
        optional=optional,
        default=info.get_default(call_default_factory=True),
        help=info.description or "",
        explain=str(extra.get("explain", "")),
        unit=str(extra.get("unit", "")),
        advanced=bool(extra.get("advanced", False)),
        limits=limits,
    )


def _split_annotation(annotation: Any) -> tuple[tuple[type, ...], tuple[str, ...], bool]:
    """Return the plain types and fixed words of an annotation, and whether None is allowed."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _split_annotation(get_args(annotation)[0])
    if origin is Literal:
        return (), tuple(str(word) for word in get_args(annotation)), False
    if origin in (Union, types.UnionType):
        kinds: tuple[type, ...] = ()
        words: tuple[str, ...] = ()
        optional = False
        for part in get_args(annotation):
            more_kinds, more_words, none = _split_annotation(part)
            kinds, words, optional = kinds + more_kinds, words + more_words, optional or none
        return kinds, words, optional
    if annotation is type(None):
        return (), (), True
    return (origin or annotation,), (), False
