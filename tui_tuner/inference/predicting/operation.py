"""The operations `predict` and `predict_look` of a helper process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tui_tuner.inference.predicting.engine import AFTER_BATCH, AT_ONCE, GO, predict
from tui_tuner.inference.predicting.job import Job

PATIENCE = 3.0  # seconds for the batch that is computed when a screen ends the job


def answer(
    arguments: Mapping[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Predict a file.

    Args:
        arguments: A `Job` in plain values.
        progress: Told what `engine.predict` tells.

    Returns:
        A `Predicted` in plain values; also where it was cancelled, with `stopped`.
    """
    since = 0.0

    def stop() -> int:
        nonlocal since
        if not cancelled():
            return GO
        since = since or time.monotonic()
        return AFTER_BATCH if time.monotonic() - since < PATIENCE else AT_ONCE

    return predict(Job.of(arguments), progress, stop).plain()


def look_at(
    arguments: Mapping[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """The operation `predict_look`: what `look.look` finds, of a `Job` in plain values."""
    from tui_tuner.inference.predicting.look import look
    from tui_tuner.runs.wire import plain

    return dict(plain(look(Job.of(arguments))))
