"""The plan screen's range test, in a helper process: it can be stopped and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui_tuner.errors import RunError, TunerError
from tui_tuner.launch.beforehand import check_config_hardware
from tui_tuner.launch.helper import Cancelled, Helper, Request
from tui_tuner.planning.range_suggestion import RangeTest, evaluate_range_curve
from tui_tuner.ui.form_values import build_draft_config

STEPS = 60
Points = list[tuple[float, float]]  # (rate, loss) each


class RangeProcess:
    """The range test of a draft. `end_test` may be called from another thread, also before `run_test`.

    Args:
        helper: The helper to use; None creates one.
        progress: Called in the running thread with activity, steps done, steps in total, and the curve.
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
        """The id of the process that runs the test, once started."""
        return self._request.pid if self._request is not None else None

    def run_test(self, draft: dict[str, Any]) -> RangeTest | None:
        """Run the test and return its curve and suggestion; None if it was stopped.

        Raises:
            ConfigError: the draft is invalid, or sets several devices.
            HardwareError: the draft sets more GPUs than there are.
            RunError: the test failed.
        """
        config = build_draft_config(draft)
        check_config_hardware(config)
        arguments = {"config": config.model_dump(mode="json"), "steps": STEPS}
        self._request = self._helper.prepare_request("range_test", arguments, progress=self._take_progress)
        # `end_test` may have been called before there was a request that it could cancel.
        if self._ended:
            return None
        try:
            found = self._request.wait_for_result()
        except Cancelled:
            return None
        except TunerError as error:
            raise RunError(error.what, where=error.where, hint=error.hint) from error
        finally:
            if self._own:
                self._helper.close()
        points = found["points"]
        rates, losses = [point["rate"] for point in points], [point["loss"] for point in points]
        return evaluate_range_curve(rates, losses, found["ended"])

    def end_test(self) -> None:
        """Stop the test if it is running, or will be."""
        self._ended = True
        if self._request is not None:
            self._request.cancel()

    def _take_progress(self, said: dict[str, Any]) -> None:
        if said.get("rate") is not None:
            self._points.append((said["rate"], said["loss"]))
        self._progress(str(said["doing"]), said["done"], said["total"], list(self._points))
