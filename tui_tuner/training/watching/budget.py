"""Watch `hardware.budget`: warn early if the run will exceed it, and stop the run before it does."""

from __future__ import annotations

from dataclasses import dataclass, field

from tui_tuner.config.schema import HardwareSection
from tui_tuner.locales import _
from tui_tuner.text import format_money
from tui_tuner.training.watching.reporting import Reporter

FEWEST = 3  # steps before their pace is taken as that of the rest
NEARLY = 0.9  # share of the budget at which a second warning is given


@dataclass
class Budget:
    """Watches the cost of a run. Without a budget or a price, it does nothing.

    Args:
        total: Optimizer steps of the run.
    """

    hardware: HardwareSection
    reporter: Reporter
    total: int
    _said: set[str] = field(default_factory=set)
    _began: tuple[int, float] | None = None

    def find_overrun(self, step: int, seconds: float, waited: float = 0.0) -> str:
        """Return why the run must stop at this step, or an empty string. Also reports warnings.

        Args:
            step: Steps done so far.
            seconds: Training time so far, in all processes of the run, including pauses: they cost too.
            waited: Seconds of pauses in this process, which are no part of the pace.
        """
        limit, price = self.hardware.budget, self.hardware.price_per_hour
        if not limit or price is None:
            return ""
        # Of a resumed run, `seconds` includes earlier processes: the pace is measured from the first call on.
        self._began = self._began or (step - 1, 0.0 if step <= 1 else seconds)
        cost, pace = seconds / 3600 * price, self._predict_pace(step, seconds - waited) / 3600 * price
        # The next step counts as well, so that a run ends below its budget and not above.
        if cost + pace > limit and step < self.total:
            return _("the budget of {limit:g} is spent", limit=limit)
        self._warn_early(step, cost, cost + pace * (self.total - step), limit)
        return ""

    def _predict_pace(self, step: int, seconds: float) -> float:
        """Return the seconds of a step in this process, with evaluations and checkpoints; 0 if not known."""
        assert self._began is not None
        steps = step - self._began[0]
        return max(0.0, seconds - self._began[1]) / steps if steps > 0 else 0.0

    def _warn_early(self, step: int, cost: float, whole: float, limit: float) -> None:
        assert self._began is not None
        if whole > limit and step - self._began[0] >= FEWEST and "whole" not in self._said:
            self._said.add("whole")
            reached = max(step, int(self.total * limit / whole))
            self.reporter.report_warning(
                "budget",
                _(
                    "At this pace the run will cost {whole}, more than the budget of {limit:g}: it will be "
                    "saved and stopped near step {reached} of {total}.",
                    whole=format_money(whole),
                    limit=limit,
                    reached=reached,
                    total=self.total,
                ),
                _("Raise hardware.budget when you resume the run, or train fewer steps."),
            )
        elif cost >= NEARLY * limit and whole > limit and "nearly" not in self._said:
            self._said.add("nearly")
            self.reporter.report_warning(
                "budget",
                _(
                    "{cost} of the budget of {limit:g} is spent at step {step} of {total}.",
                    cost=format_money(cost),
                    limit=limit,
                    step=step,
                    total=self.total,
                ),
            )
