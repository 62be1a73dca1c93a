"""What evaluations come to: the metric that decides, its best value, and the tables to compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui_tuner.config.deciding import best_of, decides, is_better_higher, metric_word
from tui_tuner.config.metrics import renamed
from tui_tuner.locales import _
from tui_tuner.runs.events import Body, Evaluation, EvaluationTable, Resolved, RolledBack, RunStarted
from tui_tuner.runs.pace import metric_figure

DECIDES = "evaluation.best"


class Judging:
    """Fed with the events of a run; needs little memory and no time, however many evaluations there are."""

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

    def take(self, body: Body) -> None:
        """Learn from an event."""
        match body:
            case RunStarted():
                self._config, self._own = body.config, body.metrics
                self._settle()
                if body.resumed_from is not None:
                    self._back_to(body.resumed_from)
            case Resolved(field=name) if name == DECIDES:
                self._resolved[name] = (body.value, body.why)
                self._settle()
            case RolledBack():
                self._back_to(body.step)
            case Evaluation():
                value = renamed(body.metrics).get(self.name)
                if value is not None:
                    self._add(body.step, value)
            case EvaluationTable():
                first = self.tables[0].step if self.tables else body.step
                kept = {first, body.step, self.best_step}
                self.tables = [table for table in self.tables if table.step in kept]
                self.tables.append(body)

    def told(self, body: Evaluation) -> str:
        """An evaluation that was taken in, in words: the metric that decides first, and its best so far."""
        names = sorted(body.metrics, key=lambda name: name != self.name)
        metrics = ", ".join(
            f"{metric_word(name)} {metric_figure(name, body.metrics[name])}" for name in names
        )
        if self.name == "loss" or self.name not in body.metrics or self._best is None:
            return metrics
        step, best = self._best
        said = {"metrics": metrics, "name": metric_word(self.name), "step": step}
        if step == body.step:
            return _("{metrics}; the best {name} so far", **said)
        return _(
            "{metrics}; the best {name} so far is {best}, at step {step}",
            best=metric_figure(self.name, best),
            **said,
        )

    def _settle(self) -> None:
        self.name = decides(self._config, self._resolved)
        self.higher = is_better_higher(self.name, self._own)

    def _add(self, step: int, value: float) -> None:
        self._values.append((step, value))
        if best_of([(step, value)], self.higher) is None:  # no number, or before the first step
            return
        if self._best is None or (value > self._best[1] if self.higher else value < self._best[1]):
            self._best = (step, value)

    def _back_to(self, step: int) -> None:
        self._values, values = [], [item for item in self._values if item[0] <= step]
        self._best = None
        for at, value in values:
            if value is not None:
                self._add(at, value)
        self.tables = [table for table in self.tables if table.step <= step]
