"""How much a model has improved on the same held-out rows since before training, with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeGuard

from tui_tuner.locales import _, _n
from tui_tuner.runs.events import HeldOutRows
from tui_tuner.runs.view import RunView

CERTAINTY = 0.95  # of the interval
FEWEST = 5  # rows below which an interval is not meaningful


@dataclass(frozen=True)
class Gain:
    """The paired difference of the losses of held-out rows, before minus after: positive is better.

    Args:
        step: The evaluation that is compared with the model before its first step.
        mean: Weighted by the labels of the rows, as the loss of an evaluation is.
        low, high: Its interval (`CERTAINTY`).
        rows: The number of rows compared.
        all_rows: Every row measured before training also has a finite loss afterwards.
    """

    step: int
    mean: float
    low: float
    high: float
    rows: int
    all_rows: bool = True

    @property
    def is_shown(self) -> bool:
        """Return whether the interval excludes zero, on enough rows to trust it."""
        return self.rows >= FEWEST and (self.low > 0 or self.high < 0)

    @property
    def is_better(self) -> bool:
        return self.is_shown and self.low > 0


def compute_gain(before: HeldOutRows, after: HeldOutRows) -> Gain | None:
    """Compute the gain from one evaluation to another; None if fewer than two of the same rows were measured.

    The interval is that of the mean of paired differences by Student's t; weights enter it as in a ratio of
    sums (Cochran, Sampling Techniques, 3rd edition, chapter 6).
    """
    pairs = list(_pair_rows(before, after))
    if len(pairs) < 2:
        return None
    total = sum(weight for _difference, weight in pairs)
    mean = sum(difference * weight for difference, weight in pairs) / total
    count = len(pairs)
    each = total / count
    # Rows with many labels move a weighted mean more, so each deviation counts by its row's relative weight
    squares = sum(((difference - mean) * weight / each) ** 2 for difference, weight in pairs)
    width = compute_t_quantile((1 + CERTAINTY) / 2, count - 1) * math.sqrt(squares / (count * (count - 1)))
    return Gain(after.step, mean, mean - width, mean + width, count, count == len(before.losses))


def _pair_rows(before: HeldOutRows, after: HeldOutRows) -> Iterable[tuple[float, float]]:
    """Yield (difference, weight) of each row; nothing if the rows are not the same ones."""
    labels = list(before.labels)
    # Rows have no names in a journal: equal numbers of labels in the same order are how they are recognised
    if list(after.labels) != labels or not len(before.losses) == len(after.losses) == len(labels):
        return
    for first, last, weight in zip(before.losses, after.losses, labels, strict=True):
        if all(is_finite_number(value) for value in (first, last, weight)) and weight > 0:
            yield float(first) - float(last), float(weight)


def is_finite_number(value: object) -> TypeGuard[int | float]:
    """Return whether a raw value of a journal is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def compute_t_quantile(share: float, freedom: int) -> float:
    """Return a quantile of Student's t distribution: exact for 1 and 2 degrees of freedom, otherwise by the
    Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5), to within a hundredth at the usual shares."""
    if freedom == 1:
        return math.tan(math.pi * (share - 0.5))
    if freedom == 2:
        apart = 2 * share - 1
        return apart * math.sqrt(2 / (1 - apart * apart))
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def list_gains(view: RunView) -> list[Gain]:
    """List the gains of a run at its best evaluation and at its last, if that is a different one."""
    return list_gains_between(view.held_out, view.best_step())


def list_gains_between(evaluations: Iterable[HeldOutRows], best: int | None) -> list[Gain]:
    """List the gains at the best evaluation and the last; nothing without one before the first step.

    Args:
        evaluations: The held-out rows of each evaluation.
        best: The step of the best evaluation, if known.
    """
    rows = {point.step: point for point in evaluations}
    if 0 not in rows or len(rows) < 2:
        return []
    steps = dict.fromkeys(step for step in (best, max(rows)) if step)
    found = [compute_gain(rows[0], rows[step]) for step in steps if step in rows]
    return [gain for gain in found if gain is not None]


def describe_gain(gain: Gain) -> str:
    """Describe a gain in a sentence."""
    digits = _count_digits(gain)
    said = {
        "step": gain.step,
        "rows": gain.rows,
        "low": f"{min(abs(gain.low), abs(gain.high)):.{digits}f}",
        "high": f"{max(abs(gain.low), abs(gain.high)):.{digits}f}",
        "gain": f"{abs(gain.mean):.{digits}f}",
    }
    if gain.rows < FEWEST:
        return _n(
            "Loss at step {step:,} compared with before training: {rows} held-out row is too few to tell.",
            "Loss at step {step:,} compared with before training: {rows} held-out rows are too few to tell.",
            gain.rows,
            step=gain.step,
            rows=gain.rows,
        )
    if not gain.is_shown:
        return _(
            "Loss at step {step:,} compared with before training: no difference that these {rows:,} rows can "
            "show ({low} to {high}).",
            step=gain.step,
            rows=gain.rows,
            low=f"{gain.low:+.{digits}f}",
            high=f"{gain.high:+.{digits}f}",
        )
    if gain.is_better:
        return _(
            "Loss at step {step:,} compared with before training: better by {gain} ({low} to {high}) on "
            "{rows:,} held-out rows.",
            **said,
        )
    return _(
        "Loss at step {step:,} compared with before training: worse by {gain} ({low} to {high}) on "
        "{rows:,} held-out rows.",
        **said,
    )


def _count_digits(gain: Gain) -> int:
    """Return how many decimals show the width of the interval with two digits: between two and five."""
    width = gain.high - gain.low
    if width <= 0 or not math.isfinite(width):
        return 4
    return max(2, min(5, 1 - math.floor(math.log10(width))))
