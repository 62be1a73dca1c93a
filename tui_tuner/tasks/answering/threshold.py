"""The no-answer threshold: found in training, stored in the model's config."""

from __future__ import annotations

import math
from typing import Any

from tui_tuner.config.schema import RunConfig

NAME = "null_threshold"  # in the model's config


def keep_threshold(model: Any, threshold: float | None) -> None:
    """Store the threshold in the model's config; None, if every question has an answer, stores nothing."""
    if model is not None and threshold is not None:
        setattr(model.config, NAME, float(threshold))


def find_answer_threshold(config: RunConfig, model: Any) -> float | None:
    """Return the threshold of the run's config or of the trained model; None: answer every question."""
    told = config.evaluation.null_threshold
    if told != "auto":
        return float(told)
    kept = getattr(model.config, NAME, None)
    usable = isinstance(kept, int | float) and math.isfinite(kept)
    return float(kept) if usable else None  # type: ignore[arg-type]
