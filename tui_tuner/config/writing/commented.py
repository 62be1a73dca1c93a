"""A config as YAML that explains itself: a comment above each value that is set, as in the presets.

For an editor, the fields that are at their defaults can be added as comments: one line each, which is a
setting once its `#` is taken away.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from tui_tuner.config.applying import reads
from tui_tuner.config.options import Option, options, section_help
from tui_tuner.config.writing.flat import entry, flat, inline, placed, same_value
from tui_tuner.locales import _
from tui_tuner.text import one_line

# What says what a run is: these are written though they are at their defaults
ESSENTIAL = ("task", "model.name", "data.path", "method.kind")
_WORDS = 6  # that a field takes beside others are named
_WHY_WIDTH = 98  # characters
_HELP_AT = 30  # the column at which the help of a default begins


def commented(
    values: Mapping[str, Any],
    head: Sequence[str] = (),
    *,
    unread: bool = False,
    told: Collection[str] = (),
    why: Mapping[str, str] | None = None,
) -> str:
    """YAML of the values that differ from their defaults, and of what a run is.

    Args:
        values: A config as plain values.
        head: Lines of a comment on top.
        unread: Set what the task does not read, too; else that becomes comments.
        told: Fields that are written though they are at their defaults.
        why: The reason of a value, by its field: a comment of its own.
    """
    held = flat(values)
    task = str(held.get("task", options()["task"].default))
    kept = {path: value for path, value in held.items() if path in told or is_written(path, value)}
    kept |= {path: options()[path].default for path in ESSENTIAL if path not in held}
    lines = [f"# {line}".rstrip() for line in head]
    for section in ("", *in_order()):
        inner = {path: value for path, value in kept.items() if placed(path)[0] == section}
        if inner or any(path.startswith(f"{section}.") for path in kept):
            lines += _section(section, inner, task, unread, why or {})
    return "\n".join(lines).lstrip("\n") + "\n"


def is_written(path: str, value: Any) -> bool:
    """Whether a value has to stand in a file: it is no default, or says what a run is."""
    return path not in options() or path in ESSENTIAL or not same_value(value, options()[path].default)


def help_of(option: Option) -> str:
    """The comment on a field: what it is, its unit, and the words that it takes."""
    text = _(option.help)
    if option.unit:
        text = f"{text} {_('In {unit}.', unit=_(option.unit))}"
    if option.choices and option.path != "task":
        most = len(option.choices) if option.only_choices else _WORDS
        words = ", ".join(option.choices[:most]) + (" …" if len(option.choices) > most else "")
        known = _("One of: {words}.", words=words) if option.only_choices else _("Or: {words}.", words=words)
        text = f"{text} {known}"
    return one_line(text)


def unread_line(path: str, value: Any, task: str) -> str:
    """A comment in the place of a value that has no effect: the task does not read it, or something else."""
    why = _("Without effect here:") if reads(task, path) else _("Task {task} does not read this:", task=task)
    return f"# {why} {placed(path)[1]}: {inline(value)}"


def set_lines(path: str, value: Any, indent: str, why: str = "") -> list[str]:
    """A value with its comment above, and what speaks for it."""
    option = options().get(path)
    above = [f"{indent}# {help_of(option)}"] if option is not None else []
    above += [f"{indent}# {line}" for line in textwrap.wrap(one_line(why), _WHY_WIDTH - len(indent))]
    return [*above, *entry(placed(path)[1], value, indent)]


def _section(
    section: str, held: Mapping[str, Any], task: str, unread: bool, why: Mapping[str, str]
) -> list[str]:
    depth = section.count(".") + 1 if section else 0
    indent, lines = "  " * depth, []
    if section:
        about = section_help().get(section, "")
        lines += ["", f"# {_(about)}"] if depth == 1 and about else []
        lines.append(f"{'  ' * (depth - 1)}{section.rpartition('.')[2]}:")
    for path in (*(path for path in options() if path in held), *(held.keys() - options().keys())):
        if unread and not reads(task, path):
            lines.append(f"{indent}# {_('Task {task} does not read this:', task=task)}")
        if unread or reads(task, path):
            lines += set_lines(path, held[path], indent, why.get(path, ""))
        else:
            lines.append(indent + unread_line(path, held[path], task))
    return lines


def in_order() -> list[str]:
    """The sections in the order of the schema, an inner one after the fields of the one that holds it."""
    return list(filter(None, dict.fromkeys(placed(path)[0] for path in options())))


# ---- defaults as comments ---------------------------------------------------------------------------------


def default_line(option: Option) -> str:
    """A field at its default, as a comment: a setting once its `#` is taken away."""
    setting = f"#{placed(option.path)[1]}: {inline(option.default)}"
    return f"{setting:{_HELP_AT}}  # {help_of(option)}"


def defaults_of(section: str, held: Iterable[str], task: str) -> list[str]:
    """The lines of a section's fields that a text does not set and the task reads."""
    kept = set(held)
    found = [
        default_line(option)
        for path, option in options().items()
        if placed(path)[0] == section and path not in kept and reads(task, path)
    ]
    return found


@cache
def all_default_lines() -> frozenset[str]:
    """What `default_line` gives for any field."""
    return frozenset(default_line(option) for option in options().values())
