"""The tasks: a module for each, found by the name that `config.kinds.tasks.TASKS` gives it."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.data.records import Record
from tui_tuner.tasks.base import Task


@cache
def find_task(name: str) -> Task:
    """Return the task of a name in `config.kinds.tasks.TASKS`.

    Raises:
        KeyError: there is no such task, which cannot happen with a validated config.
    """
    # Raises for unknown names, so that a config can never name another module to import.
    TASKS[name]
    task: Task = import_module(f"tui_tuner.tasks.{name}").TASK
    return task


def name_of_task(record: Record) -> str | None:
    """Return the first task that takes records of this kind unchanged; None if none does."""
    return next((name for name in TASKS if isinstance(record, find_task(name).records)), None)


__all__ = ["Task", "find_task", "name_of_task"]
