"""Which fields and which methods apply to a task: what a form offers, and what has no effect.

A field that not every task reads is named by the tasks that do, in `config.kinds`; all others apply to all.
"""

from __future__ import annotations

from tui_tuner.config.kinds import METHODS, TASKS, WRITING
from tui_tuner.config.options import get_value, options
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.text import listed


def particular() -> frozenset[str]:
    """The fields that some tasks read and others do not."""
    return frozenset(WRITING).union(*(kind.reads for kind in TASKS.values()))


def reads(task: str, path: str) -> bool:
    """Whether a field has an effect on runs of a task; all have for a task that nobody knows."""
    kind = TASKS.get(task)
    if kind is None or path not in particular():
        return True
    return path in kind.reads or (kind.writes and path in WRITING)


def readers(path: str) -> list[str]:
    """The names of the tasks that read a field."""
    return [name for name in TASKS if reads(name, path)]


def unread(config: RunConfig) -> list[str]:
    """Fields that differ from their default and have no effect on runs of this task."""
    return [
        path
        for path, option in options().items()
        if not reads(config.task, path) and get_value(config, path) != option.default
    ]


def unread_words(config: RunConfig, fields: list[str]) -> tuple[str, str]:
    """A sentence about such fields, and what they are for."""
    said = _("{task} does not read {fields}.", task=_(config.task_kind.label), fields=listed(fields))
    tasks = ", ".join(dict.fromkeys(name for path in fields for name in readers(path)))
    return said, _("That is for task {tasks}, and changes nothing here.", tasks=tasks)


def methods_of(task: str) -> list[str]:
    """The methods that can train a task; all of them for a task that nobody knows."""
    kind = TASKS.get(task)
    return [name for name in METHODS if kind is None or name not in kind.without]
