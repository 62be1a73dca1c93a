"""Files that models are used on: each job in a helper process, watched by a thread while the app is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.launch.helper import Cancelled, Helper
from tui_tuner.locales import _

_KEPT = 8  # predictions that are shown


@dataclass(frozen=True)
class Standing:
    """Where a job is.

    Args:
        told: The last thing that the helper told of its rows.
        newest: The last predictions, the newest at the end: {"row", "prediction", "problem"} each.
        found: What it came to; None while it is on.
        error: Why it ended; empty while it is on, or where nothing went wrong.
    """

    told: Mapping[str, Any] = field(default_factory=dict)
    newest: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    found: Mapping[str, Any] | None = None
    error: str = ""
    on: bool = True
    stopping: bool = False


class Running:
    """One job. `standing` is always the latest; whoever shows it looks at that.

    Args:
        values: A `Job` in plain values.
        ended: Called once, in the thread that waited.
    """

    def __init__(self, helper: Helper, values: Mapping[str, Any], ended: Callable[[Running], None]) -> None:
        self.values = dict(values)
        self.standing = Standing()
        self._ended = ended
        self._request = helper.request("predict", self.values, progress=self._hear)
        self._thread = threading.Thread(target=self._wait, name="predictions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ask for its end: the rows at hand are written, and it can be gone on with."""
        self.standing = replace(self.standing, stopping=True)
        self._request.cancel()

    def _hear(self, said: Any) -> None:
        if not isinstance(said, dict):
            return
        now = self.standing
        if "note" in said:
            self.standing = replace(now, notes=(*now.notes, str(said["note"])))
            return
        newest = (*now.newest, *(one for one in said.get("newest") or () if isinstance(one, dict)))
        self.standing = replace(now, told=said, newest=newest[-_KEPT:])

    def _wait(self) -> None:
        found, error = None, ""
        try:
            found = self._request.wait()
        except Cancelled as stopped:
            found = stopped.result
        except TunerError as problem:
            error = words_of(problem)
        except Exception as problem:  # it is said where one looks; a thread has no other place for it
            error = _("{kind}: {problem}", kind=type(problem).__name__, problem=problem)
        self.standing = replace(
            self.standing, found=found if isinstance(found, dict) else None, error=error, on=False
        )
        self._ended(self)


_jobs: WeakKeyDictionary[Any, dict[tuple[str, str], Running]] = WeakKeyDictionary()


def running(app: object, model: Mapping[str, Any]) -> Running | None:
    """The job of a model that this app began last."""
    return _jobs.get(app, {}).get(_key(model))


def begin(
    app: object, helper: Helper, values: Mapping[str, Any], ended: Callable[[Running], None]
) -> Running:
    """Use a model on a file; it goes on while other screens are shown."""
    job = Running(helper, values, ended)
    _jobs.setdefault(app, {})[_key(values["model"])] = job
    return job


def _key(model: Mapping[str, Any]) -> tuple[str, str]:
    return str(model.get("path")), str(model.get("checkpoint"))
