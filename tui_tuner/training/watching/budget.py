"""`hardware.budget`: said early if the run will not do with it, and stopped before it costs more."""

from __future__ import annotations

from dataclasses import dataclass, field

from tui_tuner.config.schema import HardwareSection
from tui_tuner.locales import _
from tui_tuner.text import human_money
from tui_tuner.training.watching.reporting import Reporter

FEWEST = 3  # steps before their pace is taken for the rest
NEARLY = 0.9  # share of the budget at which it is said once more


@dataclass
class Budget:
    """Watches what a run has cost. Without a budget or a price it never says anything.

    Args:
        total: Optimizer steps of the run.
    """

    hardware: HardwareSection
    reporter: Reporter
    total: int
    _said: set[str] = field(default_factory=set)
    _began: tuple[int, float] | None = None

    def over(self, step: int, seconds: float, waited: float = 0.0) -> str:
        """Why to stop at this step, or an empty string. Warns on the way.

        Args:
            step: Steps done so far.
            seconds: Training time so far, in all processes of the run, pauses included: they cost too.
            waited: Seconds of pauses in this process, which say nothing about the pace.
        """
        limit, price = self.hardware.budget, self.hardware.price_per_hour
        if not limit or price is None:
            return ""
        self._began = self._began or (step - 1, 0.0 if step <= 1 else seconds)
        cost, pace = seconds / 3600 * price, self._pace(step, seconds - waited) / 3600 * price
        if cost + pace > limit and step < self.total:
            return _("the budget of {limit:g} is spent", limit=limit)
        self._warn(step, cost, cost + pace * (self.total - step), limit)
        return ""

    def _pace(self, step: int, seconds: float) -> float:
        """Seconds a step takes in this process, evaluations and checkpoints included; 0 before the first."""
        assert self._began is not None
        steps = step - self._began[0]
        return max(0.0, seconds - self._began[1]) / steps if steps > 0 else 0.0

    def _warn(self, step: int, cost: float, whole: float, limit: float) -> None:
        assert self._began is not None
        if whole > limit and step - self._began[0] >= FEWEST and "whole" not in self._said:
            self._said.add("whole")
            reached = max(step, int(self.total * limit / whole))
            self.reporter.warn(
                "budget",
                _(
                    "At this pace the run costs {whole}, and the budget is {limit:g}: it will be saved and "
                    "stopped near step {reached} of {total}.",
                    whole=human_money(whole),
                    limit=limit,
                    reached=reached,
                    total=self.total,
                ),
                _("Raise hardware.budget when you resume it, or train fewer steps."),
            )
        elif cost >= NEARLY * limit and whole > limit and "nearly" not in self._said:
            self._said.add("nearly")
            self.reporter.warn(
                "budget",
                _(
                    "{cost} of the budget of {limit:g} is spent at step {step} of {total}.",
                    cost=human_money(cost),
                    limit=limit,
                    step=step,
                    total=self.total,
                ),
            )
