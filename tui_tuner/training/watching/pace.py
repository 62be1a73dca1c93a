"""How long the run takes and what it costs: said when training begins, and corrected by its own steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning import hardware
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import Duration, Outlook, corrected, duration_of, price_of
from tui_tuner.planning.gpus import card_here
from tui_tuner.planning.speed.kept import rated
from tui_tuner.planning.throughput import measured
from tui_tuner.runs.events import Log, RunDuration
from tui_tuner.training.watching.beforehand import say_advice
from tui_tuner.training.watching.interludes import Interludes
from tui_tuner.training.watching.reporting import Reporter

WARM_UP = 2  # first steps, which are slower
FIRST = 3  # steps beyond those, after which the plan is corrected for the first time
GROWTH = 1.5  # then each time the steps it rests on have grown by this
OFTEN = 60.0  # seconds after which it is said in any case


class Pace(TrainerCallback):
    """Emits `duration` when training begins, and again as its own steps tell more.

    Args:
        asked: The config as it was asked for, by which runs of the same kind are found.
        config: The resolved one.
        facts: The model's shapes; without them nothing is planned, and steps alone tell.
        spent: Gives the seconds of training so far, in all processes of the run, pauses included.
        waited: Gives the seconds of pauses in this process: they cost, and are no part of the run's time.
        total: Optimizer steps of the run.
        interludes: What lies between the steps.
        told: The codes of what was said before: what the time of the run costs is looked at once.
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

    def on_train_begin(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        try:
            planned = self._planned()
        except Exception as error:  # a figure for the curious must not end a run
            message = _("The time of the run could not be planned: {error}", error=error)
            self.reporter.emit(Log(message))
            return
        if self._told is not None:
            say_advice(self.reporter, self._told, self.asked, self.facts, self.data, planned)
        if planned is None or planned.seconds is None or planned.low is None or planned.high is None:
            return
        self._say(Outlook(planned.seconds, planned.low, planned.high, planned.basis), corrected_by=0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_unused: Any) -> None:
        step = state.global_step
        if self._left:
            self._left -= 1
            self._began = (step, self._of_steps())
            return
        assert self._began is not None
        steps = step - self._began[0]
        if steps < self._next and step < self.total and time.monotonic() < self._again:
            return
        self._next = math.ceil(steps * GROWTH)
        pace = (self._of_steps() - self._began[1]) / steps
        apart = self.interludes.ahead(step, self.total)
        spent = self._spent() - self._waited()
        self._say(corrected(self.total, step, spent, pace, steps, apart), corrected_by=steps)

    def _of_steps(self) -> float:
        """Seconds of training so far, without pauses and what else lies between steps."""
        return self._spent() - self._waited() - self.interludes.seconds

    def _planned(self) -> Duration | None:
        if self.facts is None:
            return None
        here = hardware.detect()
        card = rated(card_here(self.config, here))
        speed = measured(self.asked, not card.cpu, self.config.output.folder)
        return duration_of(self.config, self.facts, self.data, card=card, speed=speed)

    def _say(self, found: Outlook, corrected_by: int) -> None:
        spent, waited = self._spent(), self._waited()
        self._again = time.monotonic() + OFTEN if corrected_by else math.inf
        self.reporter.emit(
            RunDuration(
                seconds=found.seconds,
                low=found.low,
                high=found.high,
                spent=spent,
                cost=price_of(self.config, found.seconds + waited),
                cost_high=price_of(self.config, found.high + waited),
                cost_spent=price_of(self.config, spent),
                corrected_by=corrected_by,
                basis=found.basis,
            )
        )
