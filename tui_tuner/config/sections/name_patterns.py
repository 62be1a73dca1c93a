"""Names of modules, and regular expressions for them, as fields of the section `method` take them.

They mean what they mean to PEFT: a key of `rank_pattern` is a regular expression for the end of a full name,
from a dot on, so that `v_proj` is every module of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

from tui_tuner.locales import _
from tui_tuner.text import one_line

EXPERTS = (
    "experts"  # of `method.targets`: the fused weights of a mixture's experts, which are no linear layers
)
_PLAIN_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")

Number = TypeVar("Number", int, float)


def check_patterns(value: Any, most: float) -> Any:
    """Hold a mapping of patterns to numbers to what PEFT takes; an empty one is none.

    Raises:
        ValueError: a key is no regular expression, or a number is out of its limits.
    """
    if not isinstance(value, Mapping):
        return value
    for key, number in value.items():
        problem = explain_regex(str(key))
        if problem:
            raise ValueError(
                _("{name} is no regular expression: {problem}", name=one_line(key, 60), problem=problem)
            )
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number <= most:
            raise ValueError(
                _(
                    "the number of {name} is {number}, and has to be above 0 and at most {most:,}",
                    name=one_line(key, 60),
                    number=one_line(repr(number), 40),
                    most=most,
                )
            )
    return {str(key): number for key, number in value.items()} or None


def check_targets(value: str | list[str]) -> str | list[str]:
    """Hold the names of modules to what can be looked for; names with commas between them are a list.

    Raises:
        ValueError: there is no name, or a text is neither a name nor a regular expression.
    """
    names = value if isinstance(value, list) else [part.strip() for part in value.split(",")]
    if not names or not all(name.strip() for name in names):
        raise ValueError(_("a name is missing; all-linear takes every linear layer"))
    if isinstance(value, list) or is_plain_name(value):
        return value
    if all(is_plain_name(name) for name in names):
        return names
    problem = explain_regex(value)
    if problem:
        raise ValueError(
            _("{name} is no regular expression: {problem}", name=one_line(value, 60), problem=problem)
        )
    return value


def explain_regex(text: str) -> str:
    """Explain why a text is no regular expression; empty if it is one."""
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        return one_line(error, 100)
    return ""


def is_plain_name(text: str) -> bool:
    """Return whether a text can be a module's name; else it can only be a regular expression."""
    return _PLAIN_NAME.fullmatch(text) is not None


def is_expert_target(name: str) -> bool:
    """Return whether a target is the word `experts`, or names weights of them: `experts.down_proj`."""
    return is_plain_name(name) and EXPERTS in name.split(".")


def list_expert_targets(targets: str | list[str]) -> list[str]:
    """Return those of `method.targets` that stand for fused experts."""
    return [name for name in ([targets] if isinstance(targets, str) else targets) if is_expert_target(name)]


@cache
def _compile_key(key: str) -> re.Pattern[str]:
    return re.compile(rf"(.*\.)?({key})$")


def matches_key(key: str, name: str) -> bool:
    """Return whether a key of a pattern stands for a module, by its full name."""
    return _compile_key(key).match(name) is not None


def find_number(patterns: Mapping[str, Number] | None, name: str, usual: Number) -> Number:
    """Return the number of the first key that stands for a module; `usual` if none does."""
    return next((number for key, number in (patterns or {}).items() if matches_key(key, name)), usual)


def list_unmatched(patterns: Mapping[str, Any] | None, names: Iterable[str]) -> list[str]:
    """Return the keys that stand for none of these modules."""
    known = list(names)
    return [key for key in patterns or {} if not any(matches_key(key, name) for name in known)]
