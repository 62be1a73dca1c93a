"""Recognise data that another task could use better, and suggest how to change to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from tui_tuner.config.advice import Hint, build_hint, write_setting
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.record_encoder import is_format_set
from tui_tuner.data.formats import find_format
from tui_tuner.data.formats.record_format import AlternativeWay
from tui_tuner.data.ledger import Ledger
from tui_tuner.data.read_data import DataReading
from tui_tuner.errors import TunerError
from tui_tuner.locales import N_, _
from tui_tuner.tasks import find_task, name_of_task

LOOKED_AT = 20  # rows read from the beginning of the data
MOST_OF_THEM = 0.9  # share of these rows that must fit the other task better


@dataclass(frozen=True)
class BetterTask:
    """Another task for the same rows.

    Args:
        task: Name of the task.
        sentence: A description of the rows, and a question.
        hint: How to change to it, from `config.advice`.
    """

    task: str
    sentence: str
    hint: Hint


def find_better_task(config: RunConfig) -> BetterTask | None:
    """Return a task that fits the data better than the requested one; None if there is none.

    Also None if the user has set the format of the rows. Reads only the first rows; raises nothing.
    """
    if is_format_set(config, 0):
        return None
    try:
        ways = _find_ways(config)
    except (TunerError, OSError):
        # Problems of the data are reported by the checks before a start.
        return None
    if not ways:
        return None
    way, count = Counter(ways).most_common(1)[0]
    if way is None or count < MOST_OF_THEM * len(ways):
        return None
    task, words, columns = way
    hint = AlternativeWay(words, task, dict(columns)).make_hint()
    return BetterTask(
        task, _("These rows are {kind}. Use task {task}?", kind=_(TASKS[task].rows), task=task), hint
    )


def find_other_task(config: RunConfig) -> BetterTask | None:
    """Return the task that suits the data if the requested one cannot use them, or suits them less.

    Raises nothing; None for data that no task can use.
    """
    better = find_better_task(config)
    if better is not None:
        return better
    ledger, task = Ledger(), find_task(config.task)
    try:
        for read in islice(DataReading(config.data), LOOKED_AT):
            record = read.count_start(ledger)
            if record is None:
                continue
            # The first readable row decides: the rows of a file are seldom of several kinds.
            told = (*task.records, *(task.encoder_class.takes_if_told if task.encoder_class else ()))
            name = None if isinstance(record, told) else name_of_task(record)
            return _suggest_task(name) if name is not None else None
    except (TunerError, OSError):
        pass
    return None


def _suggest_task(name: str) -> BetterTask:
    hint = build_hint(N_("Select it with {command}.", command=write_setting({"task": name})))
    return BetterTask(
        name, _("These rows are {kind}. Use task {task}?", kind=_(TASKS[name].rows), task=name), hint
    )


_Way = tuple[str, str, tuple[tuple[str, str], ...]]


def _find_ways(config: RunConfig) -> list[_Way | None]:
    """Return how another task could read each of the first usable rows, in values that can be counted."""
    task, ledger = find_task(config.task), Ledger()
    found: list[_Way | None] = []
    for read in islice(DataReading(config.data), LOOKED_AT):
        record = read.count_start(ledger)
        if record is None or not read.format:
            continue
        way = find_format(read.format).suggest_other_way(read.columns, read.row.values)
        if way is None or not way.better or way.task == config.task or not isinstance(record, task.records):
            found.append(None)
        else:
            found.append((way.task, way.words, tuple(way.columns.items())))
    return found
