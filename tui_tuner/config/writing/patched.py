"""A YAML text of somebody's own with other values in it: their comments and their order stay.

Every value is found by the parser's marks, and the outcome is read again: it is given only where it says
exactly what it should.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tui_tuner.config.options import options
from tui_tuner.config.writing.commented import (
    all_default_lines,
    defaults_of,
    help_of,
    in_order,
    is_written,
    set_lines,
)
from tui_tuner.config.writing.flat import flat, inline, placed, same_value, same_values, sections
from tui_tuner.config.yamltext import BadYaml, parse_yaml

HEADER = re.compile(r"^\s*[\w]+:\s*(#.*)?$")


@dataclass(frozen=True)
class _Item:
    """One key of a text: where it and its value stand."""

    key: yaml.Node
    value: yaml.Node
    block: bool  # its mapping has a line for each key

    @property
    def first_line(self) -> int:
        return int(self.key.start_mark.line)

    @property
    def last_line(self) -> int:
        return _last(self.value, self.key)


def values_of(text: str) -> dict[str, Any]:
    """What a text sets, by fields.

    Raises:
        BadYaml: it is no YAML, or no mapping.
    """
    held = parse_yaml(text)[0]
    if held is None:
        return {}
    if not isinstance(held, dict):
        raise BadYaml("no mapping")
    return flat(held)


def patched(text: str, wanted: Mapping[str, Any], told: Collection[str] = ()) -> str | None:
    """The text with these values and no others; None where that cannot be done without losing something.

    Args:
        wanted: Values by fields. Those of a default that the text does not name need not be in it.
        told: Fields that are to be in it though they are at their defaults.
    """
    try:
        held = values_of(text)
        for path in [path for path in held if path not in wanted]:
            text = _without(text, path)
        for path, value in wanted.items():
            if path in held and not same_value(held[path], value):
                text = _replaced(text, path, value)
        for path, value in wanted.items():
            if path not in held and (path in told or is_written(path, value)):
                text = _added(text, path, value)
        outcome = values_of(text)
    except (BadYaml, yaml.YAMLError, _Cannot):
        return None
    full = {
        path: value
        for path, value in wanted.items()
        if path in outcome or path in told or is_written(path, value)
    }
    return text if same_values(outcome, full) else None


class _Cannot(Exception):
    """A layout that is not changed by lines."""


def _items(text: str) -> dict[str, _Item]:
    """Every key of a text by its dotted name, sections among them."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return dict(_walk(node, "")) if isinstance(node, yaml.MappingNode) else {}


def _walk(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, _Item]]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        yield path, _Item(key, value, not node.flow_style)
        if path in sections() and isinstance(value, yaml.MappingNode):
            yield from _walk(value, f"{path}.")


def _end(node: yaml.Node) -> int:
    """Where a value ends, without the comments behind it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _last(node: yaml.Node, key: yaml.Node) -> int:
    """The last line of a value."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last(last[1], last[0]) if isinstance(last, tuple) else _last(last, last)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return max(int(node.end_mark.line) - 1, int(node.start_mark.line))
    return max(int(node.end_mark.line), int(key.start_mark.line)) if node.value else int(key.end_mark.line)


def _replaced(text: str, path: str, value: Any) -> str:
    item = _items(text)[path]
    start, end = int(item.value.start_mark.index), _end(item.value)
    if start == end:  # nothing stands there
        start = end = int(item.key.end_mark.index) + 1
    if isinstance(item.value, yaml.ScalarNode) and item.value.style in ("|", ">"):
        lines = text.splitlines(keepends=True)
        end = sum(map(len, lines[: item.last_line + 1]))
        tail = "\n" if text[start:end].endswith("\n") else ""
        return f"{text[:start]}{inline(value)}{tail}{text[end:]}"
    space = "" if text[start - 1 : start].isspace() or not start else " "
    return f"{text[:start]}{space}{inline(value)}{text[end:]}"


def _without(text: str, path: str) -> str:
    items = _items(text)
    item, lines = items[path], text.splitlines()
    if not item.block or lines[item.first_line][: item.key.start_mark.column].strip():
        raise _Cannot
    first, option = item.first_line, options().get(path)
    if option is not None and first and lines[first - 1].strip() == f"# {help_of(option)}":
        first -= 1
    del lines[first : item.last_line + 1]
    return _joined(lines)


def _added(text: str, path: str, value: Any) -> str:
    section, _key = placed(path)
    if section:
        return _put_in(text, section, set_lines(path, value, ""))
    items, lines = _items(text), text.splitlines()
    if items and not next(iter(items.values())).block:
        raise _Cannot
    tops = [item for name, item in items.items() if "." not in name]
    first = min((item.first_line for item in tops), default=len(lines))
    lines[first:first] = set_lines(path, value, "")  # above the sections
    return _joined(lines)


def _put_in(text: str, section: str, more: list[str]) -> str:
    """Add lines at the end of a section, which is made where there is none."""
    items, lines = _items(text), text.splitlines()
    item = items.get(section)
    if item is None:
        outer, key = placed(section)
        block = [f"{key}:", *(f"  {line}" if line.strip() else line for line in more)]
        if outer:
            return _put_in(text, outer, block)
        if items and not next(iter(items.values())).block:
            raise _Cannot
        return _joined([*lines, *([""] if lines else []), *block])
    if isinstance(item.value, yaml.MappingNode) and item.value.value and not item.value.flow_style:
        indent = " " * int(item.value.value[0][0].start_mark.column)
    elif item.value.tag.endswith(":null") and item.block:
        indent = " " * (int(item.key.start_mark.column) + 2)
        lines[item.first_line] = re.sub(r"(:\s*)(null|~)", r"\1", lines[item.first_line])
    else:
        raise _Cannot
    at = item.last_line + 1
    while at < len(lines) and lines[at].startswith(f"{indent}#"):  # what is said at its end
        at += 1
    lines[at:at] = [f"{indent}{line}" if line.strip() else line for line in more]
    return _joined(lines)


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"


def with_comments(text: str, lines: Mapping[str, list[str]]) -> str:
    """The text with comments at the end of sections, but for those that stand in it.

    Those of a section that it lacks come last: nothing but comments would make an empty one.
    """
    for section, more in lines.items():
        new = [line for line in more if line not in text]
        if new and section and section not in _items(text):
            text = _joined([*text.splitlines(), "", f"# {section}:", *new])
        elif new and section:
            try:
                text = _put_in(text, section, new)
            except _Cannot:
                continue
    return text


# ---- what is at its default, for an editor ----------------------------------------------------------------


def with_defaults(text: str, task: str) -> str:
    """The text with the fields that it does not set as comments, each in its section."""
    try:
        held = values_of(text)
    except BadYaml:
        return text
    for section in ("", *in_order()):
        more = defaults_of(section, held, task)
        if more and section:
            try:
                text = _put_in(text, section, more)
            except (_Cannot, yaml.YAMLError):
                continue
    return text


def without_defaults(text: str) -> str:
    """The text without the comments that `with_defaults` adds, and without sections that hold nothing."""
    lines = [line for line in text.splitlines() if line.strip() not in all_default_lines()]
    names = {placed(section)[1] for section in sections()}
    kept: list[str] = []
    for number, line in enumerate(lines):
        if HEADER.match(line) and line.strip().partition(":")[0] in names and _is_bare(lines, number):
            continue
        kept.append(line)
    return _joined(kept) if any(line.strip() for line in kept) else ""


def _is_bare(lines: list[str], number: int) -> bool:
    """Whether nothing but blank lines stands in the section that begins at a line."""
    depth = len(lines[number]) - len(lines[number].lstrip())
    for line in lines[number + 1 :]:
        if line.strip():
            return len(line) - len(line.lstrip()) <= depth
    return True
