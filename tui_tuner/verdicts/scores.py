"""What the metrics of an evaluation say beside its loss.

Whether a classifier is better than chance, and whether the metric that decides is still at its best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.deciding import decides, is_better_higher
from tui_tuner.runs.events import EvaluationTable
from tui_tuner.verdicts.gain import is_finite
from tui_tuner.verdicts.gathering import Gathered
from tui_tuner.verdicts.limits import SURE

LOSSES = ("loss", "perplexity")  # which say the same


@dataclass(frozen=True)
class Scores:
    """The deciding metric, where it is not the loss, and chance, where there are classes or numbers.

    Args:
        name: Of the metric; empty where the loss decides.
        best_step, best, last: Of it, over evaluations after the first step.
        before: Before the first step; None where nobody measured.
        error: Standard error of its difference between two evaluations, at most.
        commonest: The share of the commonest class among held-out rows; None where nobody knows.
        prior: The loss [nats] of always telling the classes as often as they are; None likewise.
        rows: Held-out rows behind the metric; 0 where nobody knows.
        chance: Whether it is no better than chance; None where that cannot be told.
        named_more: Where the loss decides: by how much the share of words named right has grown at its best.
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
    def at_best(self) -> bool:
        """Whether the last value is the best one but for chance."""
        return bool(self.name) and abs(self.best - self.last) <= max(self.error, 1e-12)

    @property
    def kept(self) -> float:
        """The share of what there was to gain above chance that the last value has; 0 if unknown."""
        floor = self.commonest if self.commonest is not None else self.before
        if not self.name or floor is None or not 0 <= floor < 1 or not 0 <= self.last <= 1:
            return 0.0
        return (self.last - floor) / (1 - floor)


def scores_of(gathered: Gathered) -> Scores:
    """What the metrics of a history say."""
    measured = {step: metrics for step, metrics in sorted(gathered.evaluations.items()) if metrics}
    if not measured:
        return Scores()
    last = list(measured.values())[-1]
    step = list(measured)[-1]
    shares = _shares(gathered.tables.get(step, {}))
    rows = _rows(gathered, shares)
    name = decides(gathered.config, {k: (v, "") for k, v in gathered.resolved.items()})
    if name in LOSSES or not is_finite(last.get(name)):
        name = ""
    told = _deciding(name, measured, gathered.own_metrics, rows) if name else {}
    prior, commonest = _prior(shares)
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


def _deciding(
    name: str, measured: Mapping[int, Mapping[str, float | None]], own: Mapping[str, object], rows: int
) -> dict[str, Any]:
    found = {step: metrics.get(name) for step, metrics in measured.items()}
    values = {
        step: float(value) for step, value in found.items() if value is not None and math.isfinite(value)
    }
    after = {step: value for step, value in values.items() if step > 0}
    if not after:
        return {}
    pick = max if is_better_higher(name, own) else min
    best = pick(after.values())
    last = list(after.values())[-1]
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


def _shares(tables: Mapping[str, EvaluationTable]) -> list[float]:
    """How many held-out rows (or words) each class has; empty where no table tells."""
    confusion = tables.get("confusion")
    if confusion is not None:
        counts = [sum(v for v in row if is_finite(v)) for row in confusion.values if isinstance(row, list)]
        return [count for count in counts if count > 0]
    classes = tables.get("classes")
    if classes is not None and "rows" in classes.columns:
        place = list(classes.columns).index("rows")
        found = [row[place] for row in classes.values if isinstance(row, list) and len(row) > place]
        return [float(count) for count in found if is_finite(count) and count > 0]
    return []


def _rows(gathered: Gathered, shares: list[float]) -> int:
    known = [len(losses) for losses, _labels in gathered.rows.values()]
    if gathered.held_out:
        return gathered.held_out
    return int(sum(shares)) or max(known, default=0)


def _prior(shares: list[float]) -> tuple[float | None, float | None]:
    total = sum(shares)
    if len(shares) < 2 or total <= 0:
        return None, None
    parts = [share / total for share in shares]
    return -sum(part * math.log(part) for part in parts), max(parts)


def _is_chance(last: Mapping[str, float | None], rows: int, commonest: float | None) -> bool | None:
    """Whether no metric of these is better than chance would be in 99 of 100 runs."""
    if not rows:
        return None
    correlation = last.get("pearson")
    if correlation is None:
        correlation = last.get("mcc")
    accuracy = last.get("accuracy")
    known = False
    if correlation is not None and math.isfinite(correlation):
        known = True
        if correlation * math.sqrt(max(rows - 1, 1)) > SURE:
            return False
    if accuracy is not None and commonest is not None:
        known = True
        if accuracy - commonest > SURE * math.sqrt(max(commonest * (1 - commonest), 1 / rows) / rows):
            return False
    return True if known else None
