"""By how much no answer must score higher to be taken: found in training, kept in the model's config."""

from __future__ import annotations

import math
from typing import Any

from tui_tuner.config.schema import RunConfig

NAME = "null_threshold"  # in the model's config


def keep_threshold(model: Any, threshold: float | None) -> None:
    """Keep it with the model, which is saved with it; None where every question has an answer."""
    if model is not None and threshold is not None:
        setattr(model.config, NAME, float(threshold))


def known_threshold(config: RunConfig, model: Any) -> float | None:
    """The threshold of a trained model: that of the config, or the one found; None: answer every question."""
    told = config.evaluation.null_threshold
    if told != "auto":
        return float(told)
    kept = getattr(model.config, NAME, None)
    usable = isinstance(kept, int | float) and math.isfinite(kept)
    return float(kept) if usable else None  # type: ignore[arg-type]
