"""The metric that decides which checkpoint of a run is best: which it is, its best value, how it is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tui_tuner.config.kinds import TASKS, TaskKind
from tui_tuner.config.metrics import METRICS, canonical, higher_is_better
from tui_tuner.locales import _
from tui_tuner.text import one_line


def decides(config: Mapping[str, Any], resolved: Mapping[str, tuple[Any, str]] | None = None) -> str:
    """The name of the metric that decides.

    Args:
        config: Plain values, as the event `run_started` has them; what is damaged counts as missing.
        resolved: {field: (value, why)}, what the `auto` of the config became.
    """
    settled = (resolved or {}).get("evaluation.best", ("auto", ""))[0]
    section = config.get("evaluation")
    asked = section.get("best") if isinstance(section, Mapping) else None
    for name in (settled, asked):
        if isinstance(name, str) and name != "auto":
            return canonical(name)
    kind = kind_of(config)
    return kind.best if kind is not None else "loss"


def kind_of(config: Mapping[str, Any]) -> TaskKind | None:
    """The facts of the task that a config of plain values names; None where it is damaged, or newer."""
    task = config.get("task", "sft")
    return TASKS.get(task) if isinstance(task, str) else None


def is_better_higher(name: str, own: Mapping[str, Any] | None = None) -> bool:
    """The direction of a metric; `own` is {name: {label, higher_is_better}}, as the task of a run says it."""
    said = (own or {}).get(name)
    direction = said.get("higher_is_better") if isinstance(said, Mapping) else None
    return higher_is_better(name, direction if isinstance(direction, bool) else None)


def metric_name(name: str, own: Mapping[str, Any] | None = None) -> str:
    """A metric beside its value: its label where the name is an abbreviation, else its name."""
    return label_of(name, own) if "_" in name or len(name) < 4 else one_line(name, 24)


def label_of(name: str, own: Mapping[str, Any] | None = None) -> str:
    """What a metric is called on a screen; safe for a terminal."""
    known = METRICS.get(canonical(name))
    if known is not None:
        return _(known.label)
    said = (own or {}).get(name)
    label = said.get("label") if isinstance(said, Mapping) else None
    return one_line(_(label) if isinstance(label, str) and label else name, 24)


def metric_word(name: str) -> str:
    """A metric in a line of text: its name in the journal; `exact match` where the value is another."""
    known = METRICS.get(canonical(name))
    return name.replace("_", " ") if known is not None and known.hundred else one_line(name, 60)


def best_of(values: Iterable[tuple[int, float | None]], higher: bool) -> int | None:
    """The step of the best value of a metric, the first of equal ones; None where there is none.

    Args:
        values: (step, value) of the evaluations. What was measured before the first step decides nothing.
    """
    best, found = 0.0, None
    for step, value in values:
        if step <= 0 or value is None or not math.isfinite(value):
            continue
        if found is None or (value > best if higher else value < best):
            best, found = value, step
    return found
