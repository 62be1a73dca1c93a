"""Writing of a config as YAML with a comment above each value, as in the presets.

For an editor, the fields at their defaults can be added as commented lines, which become settings once their
`#` is removed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from tui_tuner.config.applying import is_read_by_task
from tui_tuner.config.options import Option, list_options, list_section_helps
from tui_tuner.config.writing.flat import (
    are_values_equal,
    flatten_config,
    split_config_section,
    write_inline_yaml,
    write_yaml_entry,
)
from tui_tuner.locales import _
from tui_tuner.text import one_line

# Fields that identify a run: they are written even at their defaults
ESSENTIAL = ("task", "model.name", "data.path", "method.kind")
_WORDS = 6  # at most that a comment lists, for a field that accepts other values too
_WHY_WIDTH = 98  # characters
_HELP_AT = 30  # the column at which the help of a default begins


def write_commented(
    values: Mapping[str, Any],
    head: Sequence[str] = (),
    *,
    unread: bool = False,
    told: Collection[str] = (),
    why: Mapping[str, str] | None = None,
) -> str:
    """Return commented YAML of the essential fields and of all values that differ from their defaults.

    Args:
        values: A config as plain values.
        head: Lines of an opening comment.
        unread: Whether to set fields that the task does not read; otherwise they become comments.
        told: Fields to write even at their defaults.
        why: Reasons for values, by field, each written as a comment.
    """
    held = flatten_config(values)
    task = str(held.get("task", list_options()["task"].default))
    kept = {path: value for path, value in held.items() if path in told or is_value_written(path, value)}
    kept |= {path: list_options()[path].default for path in ESSENTIAL if path not in held}
    lines = [f"# {line}".rstrip() for line in head]
    for section in ("", *list_sections_in_order()):
        inner = {path: value for path, value in kept.items() if split_config_section(path)[0] == section}
        if inner or any(path.startswith(f"{section}.") for path in kept):
            lines += _write_section(section, inner, task, unread, why or {})
    return "\n".join(lines).lstrip("\n") + "\n"


def is_value_written(path: str, value: Any) -> bool:
    """Return whether a file must contain a value: it is essential or not the default."""
    return (
        path not in list_options()
        or path in ESSENTIAL
        or not are_values_equal(value, list_options()[path].default)
    )


def write_field_comment(option: Option) -> str:
    """Return the comment on a field: its help, its unit, and the words that it accepts."""
    text = _(option.help)
    if option.unit:
        text = f"{text} {_('In {unit}.', unit=_(option.unit))}"
    if option.choices and option.path != "task":
        most = len(option.choices) if option.only_choices else _WORDS
        words = ", ".join(option.choices[:most]) + (" …" if len(option.choices) > most else "")
        known = _("One of: {words}.", words=words) if option.only_choices else _("Or: {words}.", words=words)
        text = f"{text} {known}"
    return one_line(text)


def write_unread_comment(path: str, value: Any, task: str) -> str:
    """Return a comment that replaces a value without effect, with the reason."""
    why = (
        _("Without effect here:")
        if is_read_by_task(task, path)
        else _("Task {task} does not read this:", task=task)
    )
    return f"# {why} {split_config_section(path)[1]}: {write_inline_yaml(value)}"


def write_value_lines(path: str, value: Any, indent: str, why: str = "") -> list[str]:
    """Return the lines of a value, with its comment and the reason for it above."""
    option = list_options().get(path)
    above = [f"{indent}# {write_field_comment(option)}"] if option is not None else []
    above += [f"{indent}# {line}" for line in textwrap.wrap(one_line(why), _WHY_WIDTH - len(indent))]
    return [*above, *write_yaml_entry(split_config_section(path)[1], value, indent)]


def _write_section(
    section: str, held: Mapping[str, Any], task: str, unread: bool, why: Mapping[str, str]
) -> list[str]:
    depth = section.count(".") + 1 if section else 0
    indent, lines = "  " * depth, []
    if section:
        about = list_section_helps().get(section, "")
        lines += ["", f"# {_(about)}"] if depth == 1 and about else []
        lines.append(f"{'  ' * (depth - 1)}{section.rpartition('.')[2]}:")
    for path in (*(path for path in list_options() if path in held), *(held.keys() - list_options().keys())):
        if unread and not is_read_by_task(task, path):
            lines.append(f"{indent}# {_('Task {task} does not read this:', task=task)}")
        if unread or is_read_by_task(task, path):
            lines += write_value_lines(path, held[path], indent, why.get(path, ""))
        else:
            lines.append(indent + write_unread_comment(path, held[path], task))
    return lines


def list_sections_in_order() -> list[str]:
    """Return the sections in the order of the schema, nested ones after the fields of their parent."""
    return list(filter(None, dict.fromkeys(split_config_section(path)[0] for path in list_options())))


# ---- defaults as comments ---------------------------------------------------------------------------------


def write_default_line(option: Option) -> str:
    """Return a field at its default as a commented line, which becomes a setting without its `#`."""
    setting = f"#{split_config_section(option.path)[1]}: {write_inline_yaml(option.default)}"
    return f"{setting:{_HELP_AT}}  # {write_field_comment(option)}"


def write_section_defaults(section: str, held: Iterable[str], task: str) -> list[str]:
    """Return commented lines for the fields of a section that the task reads and a text does not set."""
    kept = set(held)
    found = [
        write_default_line(option)
        for path, option in list_options().items()
        if split_config_section(path)[0] == section and path not in kept and is_read_by_task(task, path)
    ]
    return found


@cache
def list_default_lines() -> frozenset[str]:
    """Return the `write_default_line` of every field."""
    return frozenset(write_default_line(option) for option in list_options().values())
