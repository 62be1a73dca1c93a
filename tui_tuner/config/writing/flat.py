"""Values of a config by the dotted names of their fields, and how one of them is written as YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from tui_tuner.config.options import options

_ONE_LINE = 10**9  # characters


@cache
def sections() -> frozenset[str]:
    """The dotted name of every section."""
    return frozenset(path.rpartition(".")[0] for path in options() if "." in path)


def placed(path: str) -> tuple[str, str]:
    """The section that a dotted name stands in, empty for none, and its key there."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        section = ".".join(parts[:count])
        if section in sections():
            return section, ".".join(parts[count:])
    return "", path


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a config holds, by fields; what no field is called stands under its own dotted name."""
    return dict(_flat(values, ""))


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in sections() and (value is None or isinstance(value, Mapping)):
            yield from _flat(value or {}, f"{path}.")
        else:
            yield path, value


def same_value(one: Any, other: Any) -> bool:
    """Whether two values mean the same in a config; `true` is no 1."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(same_value(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(isinstance(one, bool) == isinstance(other, bool) and one == other)


def same_values(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """The same of all values by their fields."""
    return set(one) == set(other) and all(same_value(one[path], other[path]) for path in one)


def inline(value: Any) -> str:
    """A value on one line."""
    text = yaml.dump(
        value,
        Dumper=_LineDumper,
        default_flow_style=True,
        allow_unicode=True,
        width=_ONE_LINE,
        sort_keys=False,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def entry(key: str, value: Any, indent: str = "") -> list[str]:
    """`key: value` as lines: a text of several lines as a block, lists and mappings on one line."""
    if not isinstance(value, str) or "\n" not in value.rstrip("\n"):
        return [f"{indent}{inline(key)}: {inline(value)}"]
    text = yaml.dump({key: value}, Dumper=_BlockDumper, allow_unicode=True, width=_ONE_LINE)
    lines = text.removesuffix("\n").split("\n")
    return [f"{indent}{line}" if line.strip() else line for line in lines]


_STR = "tag:yaml.org,2002:str"
_ENDS_OF_LINES = re.compile("[\x85\u2028\u2029]")  # which YAML takes for one, and few others do


class Dumper(yaml.SafeDumper):
    """What it writes is read as it was: rare ends of lines inside of a text are escaped."""

    def ignore_aliases(self, data: Any) -> bool:
        """Nothing is written as an alias."""
        return True


class _BlockDumper(Dumper):
    pass


class _LineDumper(Dumper):
    pass


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(_STR, value, style='"' if _ENDS_OF_LINES.search(value) else None)


def _block(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if _ENDS_OF_LINES.search(value):
        return _text(dumper, value)
    return dumper.represent_scalar(_STR, value, style="|" if "\n" in value else None)


def _line(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if "\n" in value or _ENDS_OF_LINES.search(value) else None  # else on lines of its own
    return dumper.represent_scalar(_STR, value, style=style)


Dumper.add_representer(str, _text)
_LineDumper.add_representer(str, _line)
_BlockDumper.add_representer(str, _block)
