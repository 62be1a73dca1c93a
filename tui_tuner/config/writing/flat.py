"""Config values by dotted field names, and the formatting of a value as YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from tui_tuner.config.options import list_options

_ONE_LINE = 10**9  # characters: PyYAML must never wrap


@cache
def list_config_sections() -> frozenset[str]:
    """Return the dotted name of every section."""
    return frozenset(path.rpartition(".")[0] for path in list_options() if "." in path)


def split_config_section(path: str) -> tuple[str, str]:
    """Split a dotted name into its section (empty if there is none) and its key there."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        section = ".".join(parts[:count])
        if section in list_config_sections():
            return section, ".".join(parts[count:])
    return "", path


def flatten_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a config by field; unknown keys keep their own dotted names."""
    return dict(_flatten_values(values, ""))


def _flatten_values(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in list_config_sections() and (value is None or isinstance(value, Mapping)):
            yield from _flatten_values(value or {}, f"{path}.")
        else:
            yield path, value


def are_values_equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal in a config; unlike in Python, `true` is not 1."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(are_values_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(are_values_equal, one, other))
    return bool(isinstance(one, bool) == isinstance(other, bool) and one == other)


def are_configs_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two configs, by field, have the same fields and equal values."""
    return set(one) == set(other) and all(are_values_equal(one[path], other[path]) for path in one)


def write_inline_yaml(value: Any) -> str:
    """Format a value as YAML on one line."""
    text = yaml.dump(
        value,
        Dumper=_LineDumper,
        default_flow_style=True,
        allow_unicode=True,
        width=_ONE_LINE,
        sort_keys=False,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def write_yaml_entry(key: str, value: Any, indent: str = "") -> list[str]:
    """Format `key: value` as lines: texts of several lines as a block, lists and mappings on one line."""
    if not isinstance(value, str) or "\n" not in value.rstrip("\n"):
        return [f"{indent}{write_inline_yaml(key)}: {write_inline_yaml(value)}"]
    text = yaml.dump({key: value}, Dumper=_BlockDumper, allow_unicode=True, width=_ONE_LINE)
    lines = text.removesuffix("\n").split("\n")
    return [f"{indent}{line}" if line.strip() else line for line in lines]


_STR = "tag:yaml.org,2002:str"
_ENDS_OF_LINES = re.compile("[\x85\u2028\u2029]")  # line ends to YAML, but not to most editors


class Dumper(yaml.SafeDumper):
    """A dumper that escapes rare line ends in texts, so that reading restores them exactly."""

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
    style = '"' if "\n" in value or _ENDS_OF_LINES.search(value) else None  # else it would span lines
    return dumper.represent_scalar(_STR, value, style=style)


Dumper.add_representer(str, _represent_text)
_LineDumper.add_representer(str, _represent_line)
_BlockDumper.add_representer(str, _represent_block)
