"""Prediction jobs: each runs in a helper process and keeps running while other screens are open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tui_tuner.launch.helper import Helper
from tui_tuner.ui.screens.using.helper_jobs import HelperJob, JobBook, JobState

_KEPT = 8  # newest predictions that are kept for display


@dataclass(frozen=True)
class PredictionState(JobState):
    """The state of a prediction job.

    Args:
        newest: The latest predictions, newest last: {"row", "prediction", "problem"} each.
    """

    newest: tuple[Mapping[str, Any], ...] = ()

    def take_report(self, said: Mapping[str, Any]) -> PredictionState:
        found = super().take_report(said)
        newest = (*found.newest, *(one for one in said.get("newest") or () if isinstance(one, dict)))
        return replace(found, newest=newest[-_KEPT:])


class PredictionJob(HelperJob):
    """A prediction job; if it is stopped, the current rows are written, and it can be continued later.

    Args:
        values: The fields of a `Job` as plain values.
    """

    def __init__(
        self, helper: Helper, values: Mapping[str, Any], ended: Callable[[PredictionJob], None]
    ) -> None:
        super().__init__("predict", helper, values, PredictionState(), ended)


_jobs: JobBook[PredictionJob] = JobBook()
find_job = _jobs.find_job


def begin_job(
    app: object, helper: Helper, values: Mapping[str, Any], ended: Callable[[PredictionJob], None]
) -> PredictionJob:
    """Start a prediction job with `values["model"]`."""
    return _jobs.keep_job(app, PredictionJob(helper, values, ended))
