"""The metric that decides which checkpoint of a run is best: its choice, direction, best value and labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tui_tuner.config.kinds.tasks import TASKS, TaskKind
from tui_tuner.config.metrics import METRICS, find_current_metric_name, is_higher_metric_better
from tui_tuner.locales import _
from tui_tuner.text import one_line


def name_deciding_metric(
    config: Mapping[str, Any], resolved: Mapping[str, tuple[Any, str]] | None = None
) -> str:
    """Return the name of the metric that decides which checkpoint is best.

    Args:
        config: Plain values, as in the event `run_started`; damaged ones count as missing.
        resolved: {field: (value, why)}, the values chosen for each `auto` of the config.
    """
    settled = (resolved or {}).get("evaluation.best", ("auto", ""))[0]
    section = config.get("evaluation")
    asked = section.get("best") if isinstance(section, Mapping) else None
    for name in (settled, asked):
        if isinstance(name, str) and name != "auto":
            return find_current_metric_name(name)
    kind = find_task_kind(config)
    return kind.best if kind is not None else "loss"


def find_task_kind(config: Mapping[str, Any]) -> TaskKind | None:
    """Return the task that a config of plain values names; None if it is damaged or newer."""
    task = config.get("task", "sft")
    return TASKS.get(task) if isinstance(task, str) else None


def is_deciding_higher_better(name: str, own: Mapping[str, Any] | None = None) -> bool:
    """Return the direction of a metric; `own` is {name: {label, higher_is_better}}, from the run's task."""
    said = (own or {}).get(name)
    direction = said.get("higher_is_better") if isinstance(said, Mapping) else None
    return is_higher_metric_better(name, direction if isinstance(direction, bool) else None)


def name_shown_metric(name: str, own: Mapping[str, Any] | None = None) -> str:
    """Return a metric's name to show next to its value: the label if the name is an abbreviation."""
    return label_metric(name, own) if "_" in name or len(name) < 4 else one_line(name, 24)


def label_metric(name: str, own: Mapping[str, Any] | None = None) -> str:
    """Return a metric's name for a screen; safe for a terminal."""
    known = METRICS.get(find_current_metric_name(name))
    if known is not None:
        return _(known.label)
    said = (own or {}).get(name)
    label = said.get("label") if isinstance(said, Mapping) else None
    return one_line(_(label) if isinstance(label, str) and label else name, 24)


def name_metric_in_text(name: str) -> str:
    """Return a metric's name in running text: as in the journal, but `exact match` for rescaled values."""
    known = METRICS.get(find_current_metric_name(name))
    return name.replace("_", " ") if known is not None and known.hundred else one_line(name, 60)


def find_best_step(values: Iterable[tuple[int, float | None]], higher: bool) -> int | None:
    """Return the step with the best value of a metric, the first of equal ones; None if there is none.

    Args:
        values: (step, value) of the evaluations; those before the first step are ignored.
    """
    best, found = 0.0, None
    for step, value in values:
        if step <= 0 or value is None or not math.isfinite(value):
            continue
        if found is None or (value > best if higher else value < best):
            best, found = value, step
    return found
