"""Flatten a config into values by dotted field names, and write single values as YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from tui_tuner.config.options import list_options

_ONE_LINE = 10**9  # characters


@cache
def list_sections() -> frozenset[str]:
    """Return the dotted name of every section."""
    return frozenset(path.rpartition(".")[0] for path in list_options() if "." in path)


def find_section(path: str) -> tuple[str, str]:
    """Return the section that contains a dotted name (empty for none), and its key there."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        section = ".".join(parts[:count])
        if section in list_sections():
            return section, ".".join(parts[count:])
    return "", path


def flatten_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a config by field; an unknown key keeps its own dotted name."""
    return dict(_flatten_values(values, ""))


def _flatten_values(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        # A mapping that is no section, such as data.columns, is the value of a single field
        if path in list_sections() and (value is None or isinstance(value, Mapping)):
            yield from _flatten_values(value or {}, f"{path}.")
        else:
            yield path, value


def same_value(one: Any, other: Any) -> bool:
    """Return whether two values mean the same in a config; `true` and 1 differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(same_value(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    # Python takes True and 1 for equal, but a config does not
    return bool(isinstance(one, bool) == isinstance(other, bool) and one == other)


def same_values(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Compare all values by field (`same_value`)."""
    return set(one) == set(other) and all(same_value(one[path], other[path]) for path in one)


def write_inline(value: Any) -> str:
    """Write a value as YAML on one line."""
    text = yaml.dump(
        value,
        Dumper=_LineDumper,
        default_flow_style=True,
        allow_unicode=True,
        width=_ONE_LINE,
        sort_keys=False,
    )
    return text.removesuffix("\n").removesuffix("\n...")  # PyYAML ends a lone scalar with a document mark


def write_entry(key: str, value: Any, indent: str = "") -> list[str]:
    """Write `key: value` as lines: long texts as a block, lists and mappings on one line."""
    if not isinstance(value, str) or "\n" not in value.rstrip("\n"):
        return [f"{indent}{write_inline(key)}: {write_inline(value)}"]
    text = yaml.dump({key: value}, Dumper=_BlockDumper, allow_unicode=True, width=_ONE_LINE)
    lines = text.removesuffix("\n").split("\n")
    return [f"{indent}{line}" if line.strip() else line for line in lines]


_STR = "tag:yaml.org,2002:str"
_ENDS_OF_LINES = re.compile("[\x85\u2028\u2029]")  # line ends to YAML, but not to most other programs


class Dumper(yaml.SafeDumper):
    """Write YAML that reads back unchanged: rare line ends inside a text are escaped."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write every value in full, never as an alias."""
        return True


class _BlockDumper(Dumper):
    pass


class _LineDumper(Dumper):
    pass


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(_STR, value, style='"' if _ENDS_OF_LINES.search(value) else None)


def _represent_block(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if _ENDS_OF_LINES.search(value):
        return _represent_text(dumper, value)
    return dumper.represent_scalar(_STR, value, style="|" if "\n" in value else None)


def _represent_line(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if "\n" in value or _ENDS_OF_LINES.search(value) else None  # PyYAML breaks plain text
    return dumper.represent_scalar(_STR, value, style=style)


Dumper.add_representer(str, _represent_text)
_LineDumper.add_representer(str, _represent_line)
_BlockDumper.add_representer(str, _represent_block)
