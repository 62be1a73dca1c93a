"""Prediction jobs: each runs in a helper process, and a thread of the app follows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.launch.helper import Cancelled, Helper
from tui_tuner.locales import _

_KEPT = 8  # newest predictions that are kept for display


@dataclass(frozen=True)
class JobState:
    """The state of a job.

    Args:
        told: The helper's last progress report.
        newest: The latest predictions, newest last: {"row", "prediction", "problem"} each.
        found: The result; None while the job is running.
        error: The reason for a failure; empty while the job is running, and after success.
    """

    told: Mapping[str, Any] = field(default_factory=dict)
    newest: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    found: Mapping[str, Any] | None = None
    error: str = ""
    on: bool = True
    stopping: bool = False


class PredictionJob:
    """A job that runs in a helper process. `standing` is its latest state, to be polled.

    Args:
        values: The fields of a `Job` as plain values.
        ended: Called once at the end, in the thread that waited.
    """

    def __init__(
        self, helper: Helper, values: Mapping[str, Any], ended: Callable[[PredictionJob], None]
    ) -> None:
        self.values = dict(values)
        self.standing = JobState()
        self._ended = ended
        self._request = helper.prepare_request("predict", self.values, progress=self._take_progress)
        self._thread = threading.Thread(target=self._wait_for_end, name="predictions", daemon=True)
        self._thread.start()

    def stop_job(self) -> None:
        """Stop after the current rows are written; the job can be continued later."""
        self.standing = replace(self.standing, stopping=True)
        self._request.cancel()

    def _take_progress(self, said: Any) -> None:
        if not isinstance(said, dict):
            return
        now = self.standing
        if "note" in said:
            self.standing = replace(now, notes=(*now.notes, str(said["note"])))
            return
        newest = (*now.newest, *(one for one in said.get("newest") or () if isinstance(one, dict)))
        # A new object each time: screens compare identities to see whether anything has changed.
        self.standing = replace(now, told=said, newest=newest[-_KEPT:])

    def _wait_for_end(self) -> None:
        found, error = None, ""
        try:
            found = self._request.wait_for_result()
        except Cancelled as stopped:
            found = stopped.result
        except TunerError as problem:
            error = format_error_words(problem)
        except Exception as problem:
            # A thread has no other place to report to: the screen shows this error with the job.
            error = _("{kind}: {problem}", kind=type(problem).__name__, problem=problem)
        self.standing = replace(
            self.standing, found=found if isinstance(found, dict) else None, error=error, on=False
        )
        self._ended(self)


# Keyed by the app and weak, so that a job does not outlive its app, and screens may come and go.
_jobs: WeakKeyDictionary[Any, dict[tuple[str, str], PredictionJob]] = WeakKeyDictionary()


def find_job(app: object, model: Mapping[str, Any]) -> PredictionJob | None:
    """Return the latest job of a model in this app; None if there was none."""
    return _jobs.get(app, {}).get(_key_of_model(model))


def begin_job(
    app: object, helper: Helper, values: Mapping[str, Any], ended: Callable[[PredictionJob], None]
) -> PredictionJob:
    """Start a job; it keeps running while other screens are open."""
    job = PredictionJob(helper, values, ended)
    _jobs.setdefault(app, {})[_key_of_model(values["model"])] = job
    return job


def _key_of_model(model: Mapping[str, Any]) -> tuple[str, str]:
    return str(model.get("path")), str(model.get("checkpoint"))
