"""Exports of this app: each runs in a helper process, and a thread of the app follows it."""

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


@dataclass(frozen=True)
class ExportState:
    """The state of an export.

    Args:
        told: The helper's last progress report.
        found: The outcome; None while it is running, and where there is none.
        error: The reason for a failure; empty while it is running, and after success.
    """

    told: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    found: Mapping[str, Any] | None = None
    error: str = ""
    on: bool = True
    stopping: bool = False


class RunningExport:
    """An export in a helper process. `standing` is its latest state, to be polled.

    Args:
        values: The model and the options as plain values.
        ended: Called once at the end, in the thread that waited.
    """

    def __init__(
        self, helper: Helper, values: Mapping[str, Any], ended: Callable[[RunningExport], None]
    ) -> None:
        self.values = dict(values)
        self.standing = ExportState()
        self._ended = ended
        self._request = helper.prepare_request("export", self.values, progress=self._take_progress)
        self._thread = threading.Thread(target=self._wait_for_end, name="export", daemon=True)
        self._thread.start()

    def stop_export(self) -> None:
        """Stop it; what is half written is removed."""
        self.standing = replace(self.standing, stopping=True)
        self._request.cancel()

    def _take_progress(self, said: Any) -> None:
        if not isinstance(said, dict):
            return
        # A new object each time: screens compare identities to see whether anything has changed.
        if "note" in said:
            self.standing = replace(self.standing, notes=(*self.standing.notes, str(said["note"])))
        else:
            self.standing = replace(self.standing, told=said)

    def _wait_for_end(self) -> None:
        found, error = None, ""
        try:
            found = self._request.wait_for_result()
        except Cancelled as stopped:
            found = stopped.result
        except TunerError as problem:
            error = format_error_words(problem)
        except Exception as problem:
            # A thread has no other place to report to: the screen shows this error with the export.
            error = _("{kind}: {problem}", kind=type(problem).__name__, problem=problem)
        self.standing = replace(
            self.standing, found=found if isinstance(found, dict) else None, error=error, on=False
        )
        self._ended(self)


# Keyed by the app and weak, so that an export does not outlive its app, and screens may come and go.
_exports: WeakKeyDictionary[Any, dict[tuple[str, str], RunningExport]] = WeakKeyDictionary()


def find_export(app: object, model: Mapping[str, Any]) -> RunningExport | None:
    """Return the latest export of a model in this app; None if there was none."""
    return _exports.get(app, {}).get(_key_of_model(model))


def begin_export(
    app: object, helper: Helper, values: Mapping[str, Any], ended: Callable[[RunningExport], None]
) -> RunningExport:
    """Start an export; it keeps running while other screens are open."""
    job = RunningExport(helper, values, ended)
    _exports.setdefault(app, {})[_key_of_model(values["model"])] = job
    return job


def _key_of_model(model: Mapping[str, Any]) -> tuple[str, str]:
    return str(model.get("path")), str(model.get("checkpoint"))
