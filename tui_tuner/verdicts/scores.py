"""Scores from the metrics of evaluations other than the loss.

They show if a classifier is better than chance, and if the deciding metric is still at its best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.deciding import is_deciding_higher_better, name_deciding_metric
from tui_tuner.runs.events import EvaluationTable
from tui_tuner.verdicts.gain import is_finite_number
from tui_tuner.verdicts.limits import SURE
from tui_tuner.verdicts.run_history import RunHistory

# Metrics that the curves already show: perplexity is the exponential of the loss
LOSSES = ("loss", "perplexity")


@dataclass(frozen=True)
class Scores:
    """The deciding metric, if it is not the loss, and how it compares with chance for classes and numbers.

    Args:
        name: The metric; empty if the loss decides.
        best_step, best, last: Its values over the evaluations after the first step.
        before: Its value before the first step; None if it was not measured.
        error: An upper bound for the standard error of its difference between two evaluations.
        commonest: The share of the commonest class among held-out rows; None if unknown.
        prior: The loss [nats] of predicting each class with its frequency; None if unknown.
        rows: Held-out rows behind the metric; 0 if unknown.
        chance: The metric is not better than chance; None if unknown.
        named_more: If the loss decides, the largest growth in the share of words predicted correctly.
    """

    name: str = ""
    best_step: int = 0
    best: float = 0.0
    last: float = 0.0
    before: float | None = None
    error: float = 0.0
    commonest: float | None = None
    prior: float | None = None
    rows: int = 0
    chance: bool | None = None
    accuracy: float | None = None
    named_more: float | None = None

    @property
    def is_at_best(self) -> bool:
        """Return whether the last value is the best one, apart from chance."""
        return bool(self.name) and abs(self.best - self.last) <= max(self.error, 1e-12)

    @property
    def kept_share(self) -> float:
        """Return the share of the possible gain above chance that the last value has; 0 if unknown."""
        floor = self.commonest if self.commonest is not None else self.before
        if not self.name or floor is None or not 0 <= floor < 1 or not 0 <= self.last <= 1:
            return 0.0
        return (self.last - floor) / (1 - floor)


def make_scores(gathered: RunHistory) -> Scores:
    """Make the scores of a history from its metrics."""
    measured = {step: metrics for step, metrics in sorted(gathered.evaluations.items()) if metrics}
    if not measured:
        return Scores()
    last = list(measured.values())[-1]
    step = list(measured)[-1]
    shares = _count_classes(gathered.tables.get(step, {}))
    rows = _count_scored_rows(gathered, shares)
    name = name_deciding_metric(gathered.config, {k: (v, "") for k, v in gathered.resolved.items()})
    if name in LOSSES or not is_finite_number(last.get(name)):
        name = ""
    told = _read_deciding(name, measured, gathered.own_metrics, rows) if name else {}
    prior, commonest = _measure_prior(shares)
    chance = _is_chance(last, rows, commonest)
    accuracy = last.get("accuracy")
    return Scores(
        rows=rows,
        commonest=commonest,
        prior=prior,
        chance=chance,
        accuracy=accuracy,
        named_more=None if name else _named_more(measured),
        **told,
    )


def _named_more(measured: Mapping[int, Mapping[str, float | None]]) -> float | None:
    before = measured.get(0, {}).get("accuracy")
    after = [metrics.get("accuracy") for step, metrics in measured.items() if step > 0]
    known = [value for value in after if value is not None and math.isfinite(value)]
    return None if before is None or not known else max(known) - before


def _read_deciding(
    name: str, measured: Mapping[int, Mapping[str, float | None]], own: Mapping[str, object], rows: int
) -> dict[str, Any]:
    found = {step: metrics.get(name) for step, metrics in measured.items()}
    values = {
        step: float(value) for step, value in found.items() if value is not None and math.isfinite(value)
    }
    after = {step: value for step, value in values.items() if step > 0}
    if not after:
        return {}
    pick = max if is_deciding_higher_better(name, own) else min
    best = pick(after.values())
    last = list(after.values())[-1]
    # The binomial standard error of a share; with no row count, as if of some hundreds of rows
    share = min(max(best, 0.0), 1.0)
    error = math.sqrt(max(share * (1 - share), 1 / rows) / rows) if rows else 0.02
    best_step = next(step for step, value in after.items() if value == best)
    return {
        "name": name,
        "best": best,
        "last": last,
        "best_step": best_step,
        "before": values.get(0),
        "error": error,
    }


def _count_classes(tables: Mapping[str, EvaluationTable]) -> list[float]:
    """Count the held-out rows (or words) of each class; empty if no table has them."""
    confusion = tables.get("confusion")
    if confusion is not None:
        counts = [
            sum(v for v in row if is_finite_number(v)) for row in confusion.values if isinstance(row, list)
        ]
        return [count for count in counts if count > 0]
    classes = tables.get("classes")
    if classes is not None and "rows" in classes.columns:
        place = list(classes.columns).index("rows")
        found = [row[place] for row in classes.values if isinstance(row, list) and len(row) > place]
        return [float(count) for count in found if is_finite_number(count) and count > 0]
    return []


def _count_scored_rows(gathered: RunHistory, shares: list[float]) -> int:
    known = [len(losses) for losses, _labels in gathered.rows.values()]
    if gathered.held_out:
        return gathered.held_out
    return int(sum(shares)) or max(known, default=0)


def _measure_prior(shares: list[float]) -> tuple[float | None, float | None]:
    total = sum(shares)
    if len(shares) < 2 or total <= 0:
        return None, None
    parts = [share / total for share in shares]
    return -sum(part * math.log(part) for part in parts), max(parts)


def _is_chance(last: Mapping[str, float | None], rows: int, commonest: float | None) -> bool | None:
    """Return whether no metric of these is better than chance would be in 99 of 100 runs."""
    if not rows:
        return None
    correlation = last.get("pearson")
    if correlation is None:
        correlation = last.get("mcc")
    accuracy = last.get("accuracy")
    known = False
    # Without a relation, a correlation has a standard error of 1 / sqrt(rows - 1)
    if correlation is not None and math.isfinite(correlation):
        known = True
        if correlation * math.sqrt(max(rows - 1, 1)) > SURE:
            return False
    if accuracy is not None and commonest is not None:
        known = True
        if accuracy - commonest > SURE * math.sqrt(max(commonest * (1 - commonest), 1 / rows) / rows):
            return False
    return True if known else None
