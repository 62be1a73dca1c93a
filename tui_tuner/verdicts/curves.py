"""The training and held-out curves of a run, with their errors, and redrawn with other held-out rows.

Curves are plotted over the learning rate used up, from 0 at the start to 1 now: over steps, a schedule that
falls to 0 flattens any curve, which would look like a plateau.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tui_tuner.verdicts.limits import DRAWS, FEWEST_STEPS
from tui_tuner.verdicts.run_history import RunHistory

Floats = npt.NDArray[np.float64]
# Standard deviation of a normal distribution divided by its median absolute deviation
MAD = 1.4826
# Standard error of a median divided by that of a mean: sqrt(pi / 2), for normal values
_OF_MEDIAN = 1.2533
_BLOCKS = 20
_WINDOWS = 50
# Most evaluations that are compared: with more, neighbours hardly differ
_EVALUATIONS = 64
# A fixed seed, so that the same events always give the same verdict and confidence
_SEED = 18


@dataclass(frozen=True)
class TrainingCurve:
    """The training loss in blocks of steps, as medians, since single batches are noisy and some are outliers.

    Args:
        start: The level of the first steps.
        start_error: Its standard error.
        middle, levels, errors, used: [blocks] the middle step, the median, its standard error, and the
            learning rate used up there.
    """

    count: int
    start: float
    start_error: float
    middle: Floats
    levels: Floats
    errors: Floats
    used: Floats

    @property
    def end_level(self) -> float:
        return float(self.levels[-1]) if len(self.levels) else math.nan

    @property
    def end_error(self) -> float:
        return float(self.errors[-1]) if len(self.errors) else math.nan

    def level_at(self, step: float) -> float:
        """Return the level at a step, interpolated between blocks; NaN without any."""
        if not len(self.levels):
            return math.nan
        return float(np.interp(step, self.middle, self.levels))


@dataclass(frozen=True)
class HeldOutCurve:
    """The loss on held-out rows: [evaluations], and [draws, evaluations] with the rows resampled.

    Args:
        rows: Distinct rows whose single losses are known; 0 if none are.
        told_rows: The same with duplicates.
        repeated: Share of these rows that have a duplicate among them.
        guessed_start: The first point is the training loss of the first steps, whose rows were still new.
    """

    steps: npt.NDArray[np.int64]
    losses: Floats
    used: Floats
    draws: Floats
    rows: int = 0
    told_rows: int = 0
    repeated: float = 0.0
    guessed_start: bool = False

    def difference_error(self, one: int, other: int) -> float:
        """Return the standard error of the paired difference between two evaluations."""
        return float(np.std(self.draws[:, one] - self.draws[:, other]))

    def difference_interval(self, one: int, other: int) -> tuple[float, float]:
        """Return the 95 % interval of the difference between two evaluations, the first minus the second."""
        low, high = np.percentile(self.draws[:, one] - self.draws[:, other], [2.5, 97.5])
        return float(low), float(high)


@dataclass(frozen=True)
class Curves:
    """Both curves of a run, and its single steps.

    Args:
        steps, losses: [steps] those with a finite loss.
        bad: Steps whose loss is NaN or infinite.
        bad_evaluations: Steps of the evaluations whose loss is.
    """

    steps: npt.NDArray[np.int64]
    losses: Floats
    training: TrainingCurve
    held: HeldOutCurve
    bad: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    bad_evaluations: tuple[int, ...] = ()

    @cached_property
    def last_step(self) -> int:
        """Return the last step that anything is known of, with a finite loss or not."""
        last = [int(part[-1]) for part in (self.steps, self.held.steps) if len(part)]
        return max([*last, *self.bad[-1:].tolist(), *self.bad_evaluations[-1:]], default=0)


def make_curves(gathered: RunHistory) -> Curves:
    """Make the curves of a run's history."""
    steps, losses, rates = _order_steps(gathered)
    finite = np.isfinite(losses)
    used = _compute_used_up(rates)
    steps_f, losses_f = steps[finite], losses[finite]
    before = gathered.evaluations.get(0, {}).get("loss")
    training = _make_training_curve(steps_f, losses_f, used[finite], before)
    held, bad_evaluations = _make_held_out_curve(gathered, steps, used, training)
    return Curves(steps_f, losses_f, training, held, steps[~finite], bad_evaluations)


def _order_steps(gathered: RunHistory) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Return steps, losses and rates in order, each step once, as it was taken last."""
    steps = np.array(gathered.steps, dtype=np.int64)
    losses, rates = np.array(gathered.losses, dtype=float), np.array(gathered.rates, dtype=float)
    if len(steps) > 1 and not (np.diff(steps) > 0).all():
        # `unique` returns the first place of each value, and steps are reversed to make that their last
        _unused, last = np.unique(steps[::-1], return_index=True)
        kept = len(steps) - 1 - last
        steps, losses, rates = steps[kept], losses[kept], rates[kept]
    return steps, losses, rates


def _compute_used_up(rates: Floats) -> Floats:
    """Return the share of the summed learning rate used up after each step; without rates, that of steps."""
    rates = np.where(np.isfinite(rates) & (rates > 0), rates, 0.0)
    total = np.cumsum(rates)
    if not len(rates) or total[-1] <= 0:
        return np.arange(1, len(rates) + 1) / max(1, len(rates))
    return np.asarray(total / total[-1])


def estimate_curve_noise(values: Floats) -> float:
    """Estimate the standard deviation of single values about a smooth curve, from neighbours."""
    if len(values) < 3:
        return 0.0
    # The difference of two independent values has sqrt(2) times their standard deviation
    return float(MAD * np.median(np.abs(np.diff(values))) / math.sqrt(2))


def _make_training_curve(
    steps: npt.NDArray[np.int64], losses: Floats, used: Floats, before: float | None
) -> TrainingCurve:
    """Make the training curve; `before` is the loss on held-out rows before the first step."""
    count = len(losses)
    empty = np.zeros(0)
    if not count:
        return TrainingCurve(0, math.nan, math.nan, empty, empty, empty, empty)
    noise = estimate_curve_noise(losses)
    first = losses[: max(1, min(8, count // 20))]
    start = float(np.median(first))
    # Only the first loss is measured before any update; far too high a rate already spoils the second
    start = min(start, max(float(losses[0]), before if before is not None and math.isfinite(before) else 0.0))
    blocks = max(1, min(_BLOCKS, count // (FEWEST_STEPS if count > 40 else 3)))
    levels, errors, middle, at = [], [], [], []
    for part in np.array_split(np.arange(count), blocks):
        spread = estimate_curve_noise(losses[part]) if len(part) >= 4 * FEWEST_STEPS else noise
        levels.append(float(np.median(losses[part])))
        errors.append(_OF_MEDIAN * spread / math.sqrt(len(part)))
        middle.append(float(steps[part].mean()))
        at.append(float(used[part].mean()))
    start_error = _OF_MEDIAN * estimate_curve_noise(losses[: max(len(first), 20)]) / math.sqrt(len(first))
    return TrainingCurve(
        count,
        start,
        start_error,
        np.array(middle),
        np.array(levels),
        np.array(errors),
        np.array(at),
    )


def estimate_curve_wobble(levels: Floats) -> float:
    """Estimate the standard deviation of single points about a curve that bends; 0 for fewer than seven."""
    if len(levels) < 7:
        return 0.0
    # A smooth curve has almost no third differences, except in the steep fall of its first points; those of
    # independent values have a variance of 1 + 9 + 9 + 1 = 20 times theirs
    later = np.diff(levels[len(levels) // 6 + 1 :], 3)
    return float(MAD * np.median(np.abs(later)) / math.sqrt(20))


def compute_difference_errors(draws: Floats) -> Floats:
    """Return the standard errors of all differences between evaluations, [evaluations, evaluations]."""
    count = draws.shape[1]
    if not count:
        return np.zeros((0, 0))
    together = np.atleast_2d(np.cov(draws.T))
    alone = np.diag(together)
    return np.sqrt(np.maximum(alone[:, None] + alone[None, :] - 2 * together, 0.0))


def make_curve_windows(curves: Curves) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Return the first steps, medians and standard errors of at most fifty windows of at least five steps."""
    count = len(curves.losses)
    many = min(_WINDOWS, count // FEWEST_STEPS)
    if many < 2:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    parts = np.array_split(np.arange(count), many)
    levels = np.array([np.median(curves.losses[part]) for part in parts])
    # Noise is estimated over the whole curve, relative to the level: within a window that diverges,
    # neighbours differ because of the divergence
    level = np.repeat(np.abs(levels), [len(part) for part in parts])
    share = estimate_curve_noise(curves.losses / np.where(level > 0, level, 1.0))
    errors = _OF_MEDIAN * share * np.abs(levels) / np.sqrt([len(part) for part in parts])
    return np.array([curves.steps[part[0]] for part in parts]), levels, errors


def _make_held_out_curve(
    gathered: RunHistory, steps: npt.NDArray[np.int64], used: Floats, training: TrainingCurve
) -> tuple[HeldOutCurve, tuple[int, ...]]:
    known: dict[int, float] = {}
    bad = []
    for step in sorted(gathered.evaluations):
        loss = gathered.evaluations[step].get("loss")
        if loss is not None and math.isfinite(loss):
            known[step] = loss
        elif loss is not None:
            bad.append(step)
    paired = _pair_evaluations(gathered, known)
    if paired is not None:
        at, centre, draws, rows, told, repeated = paired
        kept = _choose_few(centre)
        at, centre, draws = at[kept], centre[kept], draws[:, kept]
        return HeldOutCurve(
            at, centre, _interpolate_used(at, steps, used), draws, rows, told, repeated
        ), tuple(bad)
    at = np.array(list(known), dtype=np.int64)
    centre = np.array(list(known.values()), dtype=float)
    guessed = len(at) > 0 and at[0] > 0 and training.count >= FEWEST_STEPS
    if guessed:
        at, centre = np.concatenate([[0], at]), np.concatenate([[training.start], centre])
    kept = _choose_few(centre)
    at, centre = at[kept], centre[kept]
    draws = _draw_wobbled(centre, training if guessed else None)
    return HeldOutCurve(at, centre, _interpolate_used(at, steps, used), draws, guessed_start=guessed), tuple(
        bad
    )


def _choose_few(losses: Floats) -> npt.NDArray[np.int64]:
    """Return the places of at most about `_EVALUATIONS` points: evenly spaced, with the best and the last."""
    count = len(losses)
    if count <= _EVALUATIONS:
        return np.arange(count)
    chosen = np.linspace(0, count - 1, _EVALUATIONS).round().astype(np.int64)
    return np.unique([*chosen, int(np.argmin(losses)), count - 2])


def _interpolate_used(at: npt.NDArray[np.int64], steps: npt.NDArray[np.int64], used: Floats) -> Floats:
    if not len(at):
        return np.zeros(0)
    if not len(steps):
        return np.asarray(at / max(1, int(at[-1])))
    return np.interp(at, np.concatenate([[0], steps]), np.concatenate([[0.0], used]))


def _pair_evaluations(
    gathered: RunHistory, known: dict[int, float]
) -> tuple[npt.NDArray[np.int64], Floats, Floats, int, int, float] | None:
    """Return the evaluations whose single row losses are known; None if fewer than two can be compared.

    Returns:
        Steps, losses, draws, and `rows`, `told_rows` and `repeated` of `HeldOutCurve`.
    """
    if len(gathered.rows) < 2:
        return None
    last = gathered.rows[max(gathered.rows)]
    labels = np.array(last[1])
    same = [step for step in sorted(gathered.rows) if len(gathered.rows[step][0]) == len(labels)]
    if len(same) < 2 or (known and max(known) not in same):
        return None  # the newest evaluation has no rows, so that the rows describe an older state
    table = np.array([gathered.rows[step][0] for step in same])
    fine = np.isfinite(table).all(axis=0) & np.isfinite(labels) & (labels > 0)
    if not fine.any():
        return None
    table, labels = table[:, fine], labels[fine]
    # Duplicate rows have the same losses at every evaluation; as separate rows they would look like evidence
    kinds = np.round(np.vstack([labels, table]).T, 6)
    _unused, first, owner = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
    weights = np.bincount(owner.reshape(-1), weights=labels, minlength=len(first))
    sizes = np.bincount(owner.reshape(-1), minlength=len(first))
    repeated = float(sizes[sizes > 1].sum() / sizes.sum())
    table, rows = table[:, first], len(first)
    drawn = np.random.default_rng(_SEED).multinomial(rows, np.full(rows, 1 / rows), size=DRAWS) * weights
    total = drawn.sum(axis=1, keepdims=True)
    means = (drawn @ table.T) / np.where(total > 0, total, 1)
    centre = (table @ weights) / weights.sum()
    every = np.array([known.get(step, own) for step, own in zip(same, centre, strict=True)])
    held_out = max(gathered.held_out, len(labels))
    # Only a part of the held-out rows may be recorded, while the loss is that of all of them
    means = every + (means - centre) * math.sqrt(len(labels) / held_out)
    return np.array(same, dtype=np.int64), every, means, rows, len(labels), repeated


def _draw_wobbled(centre: Floats, first_of: TrainingCurve | None) -> Floats:
    """Make draws where single rows are not known: each evaluation is moved by the curve's own noise."""
    random = np.random.default_rng(_SEED)
    if not len(centre):
        return np.zeros((DRAWS, 0))
    noise = estimate_curve_wobble(centre)
    # Bounds: about the relative error of a loss over hundreds of rows, and over tens of rows
    errors = np.clip(noise, 0.003 * np.abs(centre), 0.02 * np.abs(centre))
    if first_of is not None:
        errors[0] = max(errors[0], first_of.start_error)
    return centre + random.normal(size=(DRAWS, len(centre))) * errors
