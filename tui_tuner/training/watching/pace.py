"""Report how long the run takes and what it costs: when training begins, then corrected by its steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning import hardware
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import (
    Duration,
    Outlook,
    compute_run_price,
    correct_duration,
    estimate_duration,
)
from tui_tuner.planning.gpus import find_local_card
from tui_tuner.planning.speed.rate_store import add_rates_to_card
from tui_tuner.planning.throughput import find_measured_throughput
from tui_tuner.runs.events import Log, RunDuration
from tui_tuner.training.watching.beforehand import report_advice
from tui_tuner.training.watching.interludes import Interludes
from tui_tuner.training.watching.reporting import Reporter

WARM_UP = 2  # first steps, which are slower
FIRST = 3  # steps after those until the plan is corrected for the first time
GROWTH = 1.5  # then it is corrected each time the number of measured steps has grown by this factor
OFTEN = 60.0  # seconds after which it is reported in any case


class Pace:
    """Emits `duration` when training begins, and again when measured steps improve the estimate.

    Args:
        asked: The config as it was requested, by which runs of the same kind are found.
        config: The resolved config.
        facts: The model's shapes; without them the duration is estimated from measured steps only.
        spent: Returns the seconds of training so far, in all processes of the run, pauses included.
        waited: Returns the seconds of pauses in this process: they cost, but are no part of the run's time.
        total: Optimizer steps of the run.
        interludes: The work between steps.
        told: The codes of warnings reported so far. None leaves out the advice about the run's duration.
    """

    def __init__(
        self,
        asked: RunConfig,
        config: RunConfig,
        facts: ModelFacts | None,
        data: DataFacts,
        reporter: Reporter,
        spent: Callable[[], float],
        waited: Callable[[], float],
        total: int,
        interludes: Interludes | None = None,
        told: list[str] | None = None,
    ) -> None:
        self._told = told
        self.asked, self.config, self.facts, self.data = asked, config, facts, data
        self.reporter, self._spent, self._waited, self.total = reporter, spent, waited, total
        self.interludes = interludes or Interludes({})
        self._began: tuple[int, float] | None = None
        self._next = FIRST
        self._left = WARM_UP
        self._again = math.inf

    def begin_watch(self) -> None:
        try:
            planned = self._plan_duration()
        # A figure for information must not end a run.
        except Exception as error:
            message = _("The duration of the run could not be estimated: {error}", error=error)
            self.reporter.emit(Log(message))
            return
        if self._told is not None:
            report_advice(self.reporter, self._told, self.asked, self.facts, self.data, planned)
        if planned is None or planned.seconds is None or planned.low is None or planned.high is None:
            return
        self._report_duration(
            Outlook(planned.seconds, planned.low, planned.high, planned.basis), corrected_by=0
        )

    def note_step(self, step: int) -> None:
        # The first steps of any process are slow: a resumed run skips them as well.
        if self._left:
            self._left -= 1
            self._began = (step, self._step_seconds())
            return
        assert self._began is not None
        steps = step - self._began[0]
        if steps < self._next and step < self.total and time.monotonic() < self._again:
            return
        self._next = math.ceil(steps * GROWTH)
        pace = (self._step_seconds() - self._began[1]) / steps
        apart = self.interludes.predict_ahead(step, self.total)
        spent = self._spent() - self._waited()
        self._report_duration(
            correct_duration(self.total, step, spent, pace, steps, apart), corrected_by=steps
        )

    def _step_seconds(self) -> float:
        """Return the seconds of training so far, without pauses, evaluations and checkpoints."""
        return self._spent() - self._waited() - self.interludes.total_seconds

    def _plan_duration(self) -> Duration | None:
        if self.facts is None:
            return None
        here = hardware.detect_hardware()
        card = add_rates_to_card(find_local_card(self.config, here))
        speed = find_measured_throughput(self.asked, not card.cpu, self.config.output.folder)
        return estimate_duration(self.config, self.facts, self.data, card=card, speed=speed)

    def _report_duration(self, found: Outlook, corrected_by: int) -> None:
        # Pauses are paid for, so they are part of the cost but not of the duration.
        spent, waited = self._spent(), self._waited()
        self._again = time.monotonic() + OFTEN if corrected_by else math.inf
        self.reporter.emit(
            RunDuration(
                seconds=found.seconds,
                low=found.low,
                high=found.high,
                spent=spent,
                cost=compute_run_price(self.config, found.seconds + waited),
                cost_high=compute_run_price(self.config, found.high + waited),
                cost_spent=compute_run_price(self.config, spent),
                corrected_by=corrected_by,
                basis=found.basis,
            )
        )
