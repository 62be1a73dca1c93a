"""Changing values in a user's YAML text, while its comments and the order of its keys stay.

Values are located by the parser's marks. The result is parsed again and returned only if it contains exactly
the wanted values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tui_tuner.config.options import list_options
from tui_tuner.config.writing.commented import (
    is_value_written,
    list_default_lines,
    list_sections_in_order,
    write_field_comment,
    write_section_defaults,
    write_value_lines,
)
from tui_tuner.config.writing.flat import (
    are_configs_equal,
    are_values_equal,
    flatten_config,
    list_config_sections,
    split_config_section,
    write_inline_yaml,
)
from tui_tuner.config.yamltext import BadYaml, parse_yaml

HEADER = re.compile(r"^\s*[\w]+:\s*(#.*)?$")


@dataclass(frozen=True)
class _Item:
    """A key of a text, with the positions of the key and its value."""

    key: yaml.Node
    value: yaml.Node
    block: bool  # its mapping is in block style: one line per key

    @property
    def first_line(self) -> int:
        return int(self.key.start_mark.line)

    @property
    def last_line(self) -> int:
        return _find_last_line(self.value, self.key)


def read_yaml_values(text: str) -> dict[str, Any]:
    """Return the values that a text sets, by field.

    Raises:
        BadYaml: it is not YAML, or not a mapping.
    """
    held = parse_yaml(text)[0]
    if held is None:
        return {}
    if not isinstance(held, dict):
        raise BadYaml("no mapping")
    return flatten_config(held)


def patch_config_text(text: str, wanted: Mapping[str, Any], told: Collection[str] = ()) -> str | None:
    """Return the text with exactly these values; None if that is not possible without losing anything.

    Args:
        wanted: Values by field. Default values that the text does not mention may be left out.
        told: Fields that must be in the text even at their defaults.
    """
    try:
        held = read_yaml_values(text)
        for path in [path for path in held if path not in wanted]:
            text = _remove_item(text, path)
        for path, value in wanted.items():
            if path in held and not are_values_equal(held[path], value):
                text = _replace_item(text, path, value)
        for path, value in wanted.items():
            if path not in held and (path in told or is_value_written(path, value)):
                text = _add_item(text, path, value)
        outcome = read_yaml_values(text)
    except (BadYaml, yaml.YAMLError, _Cannot):
        return None
    full = {
        path: value
        for path, value in wanted.items()
        if path in outcome or path in told or is_value_written(path, value)
    }
    return text if are_configs_equal(outcome, full) else None


class _Cannot(Exception):
    """The layout of a text is not suitable for changes line by line."""


def _find_items(text: str) -> dict[str, _Item]:
    """Return every key of a text, including sections, by its dotted name."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return dict(_walk_items(node, "")) if isinstance(node, yaml.MappingNode) else {}


def _walk_items(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, _Item]]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        yield path, _Item(key, value, not node.flow_style)
        if path in list_config_sections() and isinstance(value, yaml.MappingNode):
            yield from _walk_items(value, f"{path}.")


def _find_end(node: yaml.Node) -> int:
    """Return the index at which a value ends, before any comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        # PyYAML ends a block collection where the next token begins, which is after the comments below it.
        return _find_end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _find_last_line(node: yaml.Node, key: yaml.Node) -> int:
    """Return the last line of a value."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _find_last_line(last[1], last[0]) if isinstance(last, tuple) else _find_last_line(last, last)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return max(int(node.end_mark.line) - 1, int(node.start_mark.line))
    return max(int(node.end_mark.line), int(key.start_mark.line)) if node.value else int(key.end_mark.line)


def _replace_item(text: str, path: str, value: Any) -> str:
    item = _find_items(text)[path]
    start, end = int(item.value.start_mark.index), _find_end(item.value)
    if start == end:  # the key has no value
        start = end = int(item.key.end_mark.index) + 1
    if isinstance(item.value, yaml.ScalarNode) and item.value.style in ("|", ">"):
        lines = text.splitlines(keepends=True)
        end = sum(map(len, lines[: item.last_line + 1]))
        tail = "\n" if text[start:end].endswith("\n") else ""
        return f"{text[:start]}{write_inline_yaml(value)}{tail}{text[end:]}"
    space = "" if text[start - 1 : start].isspace() or not start else " "
    return f"{text[:start]}{space}{write_inline_yaml(value)}{text[end:]}"


def _remove_item(text: str, path: str) -> str:
    items = _find_items(text)
    item, lines = items[path], text.splitlines()
    if not item.block or lines[item.first_line][: item.key.start_mark.column].strip():
        raise _Cannot
    first, option = item.first_line, list_options().get(path)
    if option is not None and first and lines[first - 1].strip() == f"# {write_field_comment(option)}":
        first -= 1
    del lines[first : item.last_line + 1]
    return _join_lines(lines)


def _add_item(text: str, path: str, value: Any) -> str:
    section, _key = split_config_section(path)
    if section:
        return _put_in(text, section, write_value_lines(path, value, ""))
    items, lines = _find_items(text), text.splitlines()
    if items and not next(iter(items.values())).block:
        raise _Cannot
    tops = [item for name, item in items.items() if "." not in name]
    first = min((item.first_line for item in tops), default=len(lines))
    lines[first:first] = write_value_lines(path, value, "")  # above the sections
    return _join_lines(lines)


def _put_in(text: str, section: str, more: list[str]) -> str:
    """Add lines at the end of a section, which is created if necessary."""
    items, lines = _find_items(text), text.splitlines()
    item = items.get(section)
    if item is None:
        outer, key = split_config_section(section)
        block = [f"{key}:", *(f"  {line}" if line.strip() else line for line in more)]
        if outer:
            return _put_in(text, outer, block)
        if items and not next(iter(items.values())).block:
            raise _Cannot
        return _join_lines([*lines, *([""] if lines else []), *block])
    if isinstance(item.value, yaml.MappingNode) and item.value.value and not item.value.flow_style:
        indent = " " * int(item.value.value[0][0].start_mark.column)
    elif item.value.tag.endswith(":null") and item.block:
        indent = " " * (int(item.key.start_mark.column) + 2)
        lines[item.first_line] = re.sub(r"(:\s*)(null|~)", r"\1", lines[item.first_line])
    else:
        raise _Cannot
    at = item.last_line + 1
    while at < len(lines) and lines[at].startswith(f"{indent}#"):  # comments at the end of the section
        at += 1
    lines[at:at] = [f"{indent}{line}" if line.strip() else line for line in more]
    return _join_lines(lines)


def _join_lines(lines: list[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"


def add_section_comments(text: str, lines: Mapping[str, list[str]]) -> str:
    """Add comments at the end of sections, unless the text already contains them.

    Comments of a missing section go to the end of the text: a section of comments alone would be empty.
    """
    for section, more in lines.items():
        new = [line for line in more if line not in text]
        if new and section and section not in _find_items(text):
            text = _join_lines([*text.splitlines(), "", f"# {section}:", *new])
        elif new and section:
            try:
                text = _put_in(text, section, new)
            except _Cannot:
                continue
    return text


# ---- what is at its default, for an editor ----------------------------------------------------------------


def add_default_comments(text: str, task: str) -> str:
    """Add the fields that a text does not set, as comments in their sections."""
    try:
        held = read_yaml_values(text)
    except BadYaml:
        return text
    for section in ("", *list_sections_in_order()):
        more = write_section_defaults(section, held, task)
        if more and section:
            try:
                text = _put_in(text, section, more)
            except (_Cannot, yaml.YAMLError):
                continue
    return text


def remove_default_comments(text: str) -> str:
    """Remove the comments of `add_default_comments`, and sections that are empty without them."""
    lines = [line for line in text.splitlines() if line.strip() not in list_default_lines()]
    names = {split_config_section(section)[1] for section in list_config_sections()}
    kept: list[str] = []
    for number, line in enumerate(lines):
        if HEADER.match(line) and line.strip().partition(":")[0] in names and _is_bare(lines, number):
            continue
        kept.append(line)
    return _join_lines(kept) if any(line.strip() for line in kept) else ""


def _is_bare(lines: list[str], number: int) -> bool:
    """Return whether the section that begins at a line contains only blank lines."""
    depth = len(lines[number]) - len(lines[number].lstrip())
    for line in lines[number + 1 :]:
        if line.strip():
            return len(line) - len(line.lstrip()) <= depth
    return True
