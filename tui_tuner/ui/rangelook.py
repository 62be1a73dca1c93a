"""The range test for the plan screen, in a helper process: it can be ended, and keeps nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui_tuner.errors import RunError, TunerError
from tui_tuner.launch.beforehand import check_hardware
from tui_tuner.launch.helper import Cancelled, Helper, Request
from tui_tuner.planning.range_test import RangeTest, evaluate
from tui_tuner.ui.form import config_of

STEPS = 60
Points = list[tuple[float, float]]  # (rate, loss) each


class RangeProcess:
    """The range test of a draft. `end` may be called from another thread, also before `run`.

    Args:
        helper: Whom to ask; None for one of its own.
        progress: Told what is done, how far it is, and the curve so far, in the thread that runs it.
    """

    def __init__(
        self,
        helper: Helper | None = None,
        progress: Callable[[str, int, int, Points], None] = lambda *_: None,
    ) -> None:
        self._helper = helper or Helper()
        self._own = helper is None
        self._progress = progress
        self._request: Request | None = None
        self._ended = False
        self._points: Points = []

    @property
    def pid(self) -> int | None:
        """The process that runs it, once there is one."""
        return self._request.pid if self._request is not None else None

    def run(self, draft: dict[str, Any]) -> RangeTest | None:
        """The curve and what it suggests; None if it was ended.

        Raises:
            ConfigError: the draft is invalid, or asks for several devices.
            HardwareError: it asks for more GPUs than there are.
            RunError: the test failed.
        """
        config = config_of(draft)
        check_hardware(config)
        arguments = {"config": config.model_dump(mode="json"), "steps": STEPS}
        self._request = self._helper.request("range_test", arguments, progress=self._heard)
        if self._ended:
            return None
        try:
            found = self._request.wait()
        except Cancelled:
            return None
        except TunerError as error:
            raise RunError(error.what, where=error.where, hint=error.hint) from error
        finally:
            if self._own:
                self._helper.close()
        points = found["points"]
        rates, losses = [point["rate"] for point in points], [point["loss"] for point in points]
        return evaluate(rates, losses, found["ended"])

    def end(self) -> None:
        """End it, if it is on."""
        self._ended = True
        if self._request is not None:
            self._request.cancel()

    def _heard(self, said: dict[str, Any]) -> None:
        if said.get("rate") is not None:
            self._points.append((said["rate"], said["loss"]))
        self._progress(str(said["doing"]), said["done"], said["total"], list(self._points))
