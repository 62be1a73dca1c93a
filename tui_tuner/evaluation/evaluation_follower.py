"""Follow the evaluations of a run: the deciding metric, its best value, and the tables to compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_tuner.config.deciding import (
    find_best_step,
    is_deciding_higher_better,
    name_deciding_metric,
    name_metric_in_text,
)
from tui_tuner.config.metrics import rename_metrics
from tui_tuner.locales import _
from tui_tuner.runs.events import Evaluation, EvaluationTable, EventBody, Resolved, RolledBack, RunStarted
from tui_tuner.runs.pace import format_metric_figure

DECIDES = "evaluation.best"


class EvaluationFollower:
    """Follows the events of a run; needs little memory and time, however many evaluations there are."""

    def __init__(self) -> None:
        self.name = "loss"
        self.higher = False
        self.tables: list[EvaluationTable] = []  # of the first, the best and the newest evaluation
        self._config: Mapping[str, Any] = {}
        self._own: Mapping[str, Any] = {}
        self._resolved: dict[str, tuple[Any, str]] = {}
        self._values: list[tuple[int, float | None]] = []
        self._best: tuple[int, float] | None = None

    @property
    def best_step(self) -> int | None:
        return self._best[0] if self._best is not None else None

    def take_event(self, body: EventBody) -> None:
        """Update the state with an event."""
        match body:
            case RunStarted():
                self._config, self._own = body.config, body.metrics
                self._settle_metric()
                if body.resumed_from is not None:
                    self._go_back(body.resumed_from)
            case Resolved(field=name) if name == DECIDES:
                self._resolved[name] = (body.value, body.why)
                self._settle_metric()
            case RolledBack():
                self._go_back(body.step)
            case Evaluation():
                value = rename_metrics(body.metrics).get(self.name)
                if value is not None:
                    self._add_value(body.step, value)
            case EvaluationTable():
                first = self.tables[0].step if self.tables else body.step
                kept = {first, body.step, self.best_step}
                self.tables = [table for table in self.tables if table.step in kept]
                self.tables.append(body)

    def describe_evaluation(self, body: Evaluation) -> str:
        """Describe the last evaluation: the deciding metric first, and its best value so far."""
        names = sorted(body.metrics, key=lambda name: name != self.name)
        metrics = ", ".join(
            f"{name_metric_in_text(name)} {format_metric_figure(name, body.metrics[name])}" for name in names
        )
        if self.name == "loss" or self.name not in body.metrics or self._best is None:
            return metrics
        step, best = self._best
        said = {"metrics": metrics, "name": name_metric_in_text(self.name), "step": step}
        if step == body.step:
            return _("{metrics}; the best {name} so far", **said)
        return _(
            "{metrics}; the best {name} so far is {best}, at step {step}",
            best=format_metric_figure(self.name, best),
            **said,
        )

    def _settle_metric(self) -> None:
        self.name = name_deciding_metric(self._config, self._resolved)
        self.higher = is_deciding_higher_better(self.name, self._own)

    def _add_value(self, step: int, value: float) -> None:
        self._values.append((step, value))
        # NaN, or an evaluation before the first step, cannot be the best.
        if find_best_step([(step, value)], self.higher) is None:
            return
        if self._best is None or (value > self._best[1] if self.higher else value < self._best[1]):
            self._best = (step, value)

    def _go_back(self, step: int) -> None:
        self._values, values = [], [item for item in self._values if item[0] <= step]
        self._best = None
        for at, value in values:
            if value is not None:
                self._add_value(at, value)
        self.tables = [table for table in self.tables if table.step <= step]
