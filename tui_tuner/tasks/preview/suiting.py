"""Data that a task can use, and another task could use better: what it is, and how to change to that."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from tui_tuner.config.advice import Hint, advise, setting
from tui_tuner.config.kinds import TASKS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.encoder import format_told
from tui_tuner.data.formats import find_format
from tui_tuner.data.formats.base import Way
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.reading import Reading
from tui_tuner.errors import TunerError
from tui_tuner.locales import N_, _
from tui_tuner.tasks import find_task, name_of_task

LOOKED_AT = 20  # rows at the beginning of the data
MOST_OF_THEM = 0.9


@dataclass(frozen=True)
class Better:
    """Another task for the same rows.

    Args:
        task: Its name.
        sentence: What the rows are, and a question.
        hint: How to change to it, as `config.advice` makes it.
    """

    task: str
    sentence: str
    hint: Hint


def better_task(config: RunConfig) -> Better | None:
    """A task that fits the data better than the one asked for; None where it fits, or nobody can tell.

    Nothing is said where the user has said what the rows are. Reads the first rows; raises nothing.
    """
    if format_told(config, 0):
        return None
    try:
        ways = _ways(config)
    except (TunerError, OSError):
        return None  # what is wrong with the data is said elsewhere
    if not ways:
        return None
    way, count = Counter(ways).most_common(1)[0]
    if way is None or count < MOST_OF_THEM * len(ways):
        return None
    task, words, columns = way
    hint = Way(words, task, dict(columns)).hint()
    return Better(task, _("These rows are {kind}: task {task}?", kind=_(TASKS[task].rows), task=task), hint)


def other_task(config: RunConfig) -> Better | None:
    """The task that the data are for, where that is not the one asked for: it cannot use them, or less well.

    Raises nothing, and says nothing of data that no task can use.
    """
    better = better_task(config)
    if better is not None:
        return better
    ledger, task = Ledger(), find_task(config.task)
    try:
        for read in islice(Reading(config.data), LOOKED_AT):
            record = read.begun(ledger)
            if record is None:
                continue
            told = (*task.records, *(task.encoder_class.takes_if_told if task.encoder_class else ()))
            name = None if isinstance(record, told) else name_of_task(record)
            return _for_task(name) if name is not None else None
    except (TunerError, OSError):
        pass
    return None


def _for_task(name: str) -> Better:
    hint = advise(N_("Choose it with {command}.", command=setting({"task": name})))
    return Better(name, _("These rows are {kind}: task {task}?", kind=_(TASKS[name].rows), task=name), hint)


_Way = tuple[str, str, tuple[tuple[str, str], ...]]


def _ways(config: RunConfig) -> list[_Way | None]:
    """How each of the first usable rows could be read by another task, in values that can be counted."""
    task, ledger = find_task(config.task), Ledger()
    found: list[_Way | None] = []
    for read in islice(Reading(config.data), LOOKED_AT):
        record = read.begun(ledger)
        if record is None or not read.format:
            continue
        way = find_format(read.format).otherwise(read.columns, read.row.values)
        if way is None or not way.better or way.task == config.task or not isinstance(record, task.records):
            found.append(None)
        else:
            found.append((way.task, way.words, tuple(way.columns.items())))
    return found
