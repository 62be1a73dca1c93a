"""Values for `model.name: tiny`, a small model with random weights for trying out a preset.

At the learning rate of a pretrained model, random weights hardly change. So a few values of a preset are
replaced by ones with which such a model learns, unless the user has set them, and each change is reported.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import DEFAULT_METHOD, METHODS
from tui_tuner.config.kinds.tasks import TASKS, TINY, TINY_NAMES, is_tiny_model
from tui_tuner.config.values import set_config_path
from tui_tuner.locales import _
from tui_tuner.text import one_line

# With full training, the embeddings must be learned along with everything else
_FULL: dict[str, Any] = {
    "training.learning_rate": 1e-3,
    "training.epochs": 8,
    "training.batch_size": 16,
    "training.warmup": 0.1,
}
# Adapters leave the random weights frozen: mostly the new head on top of them is trained
_ADAPTER: dict[str, Any] = {"training.learning_rate": 3e-3, "training.epochs": 10, "training.batch_size": 16}
# Question answering must learn to relate two texts, which takes longer; hidden tokens are few for each text
_FULL_OF = {
    "question_answering": {"training.learning_rate": 2e-3, "training.epochs": 12},
    "masked_lm": {"training.learning_rate": 3e-3},
}


def make_tiny_values(task: str, method: str) -> dict[str, Any]:
    """Return training values with which a tiny model learns a task, by field."""
    own_weights = method in METHODS and not METHODS[method].has_trait(Trait.ADAPTER)
    return _FULL | _FULL_OF.get(task, {}) if own_weights else dict(_ADAPTER)


def take_tiny_values(values: dict[str, Any], told: Collection[str]) -> list[str]:
    """Set values for a tiny model, in place, if a config asks for one.

    Args:
        values: A config as plain values.
        told: Fields that the user has set; these stay.

    Returns:
        A sentence for each value that was replaced.
    """
    notes = []
    for field, value in find_missing_tiny_values(values).items():
        before = _get_value(values, field)
        if field in told:
            continue
        set_config_path(values, field, value)
        if before is not None:
            notes.append(
                _(
                    "{field} is {value} instead of {before}: {model} starts from random weights.",
                    field=field,
                    value=value,
                    before=one_line(before, 40),
                    model=TINY,
                )
            )
    return notes


def find_missing_tiny_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a config with a tiny model still needs, by field; empty for other models."""
    task, method = str(_get_value(values, "task")), str(_get_value(values, "method.kind") or DEFAULT_METHOD)
    if not is_tiny_model(_get_value(values, "model.name")) or task not in TASKS:
        return {}
    # A trained model may stand in, where no small architecture has random weights.
    if TASKS[task].tiny not in TINY_NAMES:
        return {}
    return {
        field: value
        for field, value in make_tiny_values(task, method).items()
        if _get_value(values, field) != value
    }


def _get_value(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
