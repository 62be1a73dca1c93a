"""Jobs of this app that use a model: each runs in a helper process, and a thread of the app follows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar
from weakref import WeakKeyDictionary

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.launch.helper import Cancelled, Helper
from tui_tuner.locales import _


@dataclass(frozen=True)
class JobState:
    """The state of a job.

    Args:
        told: The helper's last progress report.
        found: The result; None while the job is running, and where there is none.
        error: The reason for a failure; empty while the job is running, and after success.
    """

    told: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    found: Mapping[str, Any] | None = None
    error: str = ""
    on: bool = True
    stopping: bool = False

    def take_report(self, said: Mapping[str, Any]) -> Self:
        """Return the state after a report: a new object, for screens see by its identity that it changed."""
        if "note" in said:
            return replace(self, notes=(*self.notes, str(said["note"])))
        return replace(self, told=said)


class HelperJob:
    """A job that runs in a helper process. `standing` is its latest state, to be polled.

    Args:
        operation: Its name in `launch.operations`.
        values: Its arguments as plain values, among them the `model`.
        state: Its state at the beginning.
        ended: Called once at the end, in the thread that waited.
    """

    def __init__(
        self,
        operation: str,
        helper: Helper,
        values: Mapping[str, Any],
        state: JobState,
        ended: Callable[[Any], None],
    ) -> None:
        self.values = dict(values)
        self.standing: Any = state
        self._ended = ended
        self._request = helper.prepare_request(operation, self.values, progress=self._take_progress)
        self._thread = threading.Thread(target=self._wait_for_end, name=operation, daemon=True)
        self._thread.start()

    def stop_job(self) -> None:
        """Ask it to stop where that does no harm."""
        self.standing = replace(self.standing, stopping=True)
        self._request.cancel()

    def _take_progress(self, said: Any) -> None:
        if isinstance(said, dict):
            self.standing = self.standing.take_report(said)

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


AnyJob = TypeVar("AnyJob", bound=HelperJob)


class JobBook(Generic[AnyJob]):
    """The latest job of each model in each app.

    Keyed by the app and weak, so that a job does not outlive its app, and screens may come and go.
    """

    def __init__(self) -> None:
        self._jobs: WeakKeyDictionary[Any, dict[tuple[str, str], AnyJob]] = WeakKeyDictionary()

    def find_job(self, app: object, model: Mapping[str, Any]) -> AnyJob | None:
        """Return the latest job of a model in this app; None if there was none."""
        return self._jobs.get(app, {}).get(_key_of_model(model))

    def keep_job(self, app: object, job: AnyJob) -> AnyJob:
        """Keep a job as the latest one of its model."""
        self._jobs.setdefault(app, {})[_key_of_model(job.values["model"])] = job
        return job


def _key_of_model(model: Mapping[str, Any]) -> tuple[str, str]:
    return str(model.get("path")), str(model.get("checkpoint"))
