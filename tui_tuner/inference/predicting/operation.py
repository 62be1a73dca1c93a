"""Operations `predict` and `predict_look` of a helper process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tui_tuner.inference.predicting.engine import AFTER_BATCH, AT_ONCE, GO, predict_file
from tui_tuner.inference.predicting.job import Job

PATIENCE = 3.0  # seconds for finishing the current batch when a screen stops the job


def run_predict_operation(
    arguments: Mapping[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Run the operation `predict`: predict the rows of a file.

    Args:
        arguments: A `Job` in plain values.
        progress: Called as by `engine.predict_file`.

    Returns:
        A `PredictionOutcome` in plain values; `stopped` is true if it was cancelled.
    """
    since = 0.0

    def choose_stop() -> int:
        nonlocal since
        if not cancelled():
            return GO
        since = since or time.monotonic()
        return AFTER_BATCH if time.monotonic() - since < PATIENCE else AT_ONCE

    return predict_file(Job.from_values(arguments), progress, choose_stop).list_outcome_values()


def run_preview_operation(
    arguments: Mapping[str, Any], progress: Callable[[Any], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Run the operation `predict_look`: preview a `Job` in plain values with
    `look.preview_prediction_job`.
    """
    from tui_tuner.inference.predicting.look import preview_prediction_job
    from tui_tuner.runs.wire import convert_to_plain_json

    return dict(convert_to_plain_json(preview_prediction_job(Job.from_values(arguments))))
