"""`model.name: tiny`: a small model with random weights in place of a downloaded one, to try a preset with.

A pretrained model learns at a rate at which random weights stay where they are. So where the user has not
said otherwise, a few values of a preset give way to those that such a model learns with, and each is said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tui_tuner.config.kinds import TASKS, TINY, is_tiny
from tui_tuner.config.values import set_path
from tui_tuner.locales import _
from tui_tuner.text import one_line

# Where every weight is trained, words and their places have to be learnt with everything else
_FULL: dict[str, Any] = {
    "training.learning_rate": 1e-3,
    "training.epochs": 8,
    "training.batch_size": 16,
    "training.warmup": 0.1,
}
# Adapters leave the random weights as they are: what is learnt is mostly the new head, which reads them
_ADAPTER: dict[str, Any] = {"training.learning_rate": 3e-3, "training.epochs": 10, "training.batch_size": 16}
# Where two texts have to be brought together
_FULL_OF = {"question_answering": {"training.learning_rate": 2e-3, "training.epochs": 12}}


def tiny_values(task: str, method: str) -> dict[str, Any]:
    """The values that a tiny model learns a task with, by their fields."""
    return _FULL | _FULL_OF.get(task, {}) if method in ("full", "freeze") else dict(_ADAPTER)


def take_tiny_values(values: dict[str, Any], told: Collection[str]) -> list[str]:
    """Put values for a tiny model, in place, where a config asks for one.

    Args:
        values: A config as plain values.
        told: Fields that the user has set: these stay.

    Returns:
        A sentence for each value that gave way to another.
    """
    notes = []
    for field, value in values_to_take(values).items():
        before = _get(values, field)
        if field in told:
            continue
        set_path(values, field, value)
        if before is not None:
            notes.append(
                _(
                    "{field} is {value} in place of {before}: {model} begins with random weights.",
                    field=field,
                    value=value,
                    before=one_line(before, 40),
                    model=TINY,
                )
            )
    return notes


def values_to_take(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that a config with a tiny model lacks, by their fields; none for any other model."""
    task, method = str(_get(values, "task")), str(_get(values, "method.kind") or "lora")
    if not is_tiny(_get(values, "model.name")) or task not in TASKS or not TASKS[task].tiny:
        return {}
    return {
        field: value for field, value in tiny_values(task, method).items() if _get(values, field) != value
    }


def _get(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
