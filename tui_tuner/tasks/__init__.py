"""What can be learnt: a module for each task, found by the name that `config.kinds.TASKS` gives it."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from tui_tuner.config.kinds import TASKS
from tui_tuner.data.records import Record
from tui_tuner.tasks.base import Task


@cache
def find_task(name: str) -> Task:
    """The task of a name in `config.kinds.TASKS`.

    Raises:
        KeyError: there is no such task. A config that was built has a known one.
    """
    TASKS[name]  # nothing but a known name is ever imported
    task: Task = import_module(f"tui_tuner.tasks.{name}").TASK
    return task


def name_of_task(record: Record) -> str | None:
    """The first task that takes records of this kind as they come; None if none does."""
    return next((name for name in TASKS if isinstance(record, find_task(name).records)), None)


__all__ = ["Task", "find_task", "name_of_task"]
