"""The two curves of a run, how sure they are, and how other held-out rows would have drawn them.

The abscissa is the learning rate used up, from 0 at the start to 1 now: a schedule that falls to 0 flattens
any curve over steps, and over this it does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tui_tuner.verdicts.gathering import Gathered
from tui_tuner.verdicts.limits import DRAWS, FEWEST_STEPS

Floats = npt.NDArray[np.float64]
MAD = 1.4826  # median absolute deviation of a normal distribution, as a standard deviation
_OF_MEDIAN = 1.2533  # standard error of a median by that of a mean
_BLOCKS = 20
_WINDOWS = 50
_EVALUATIONS = 64  # that are compared: of more, neighbours say the same
_SEED = 18


@dataclass(frozen=True)
class Training:
    """The loss in training, in blocks of steps: medians, for single batches are noisy and some are odd.

    Args:
        start: The level of the first steps.
        start_error: Its standard error.
        middle, levels, errors, used: [blocks] the step in the middle, the median, its standard error, and
            the rate used up there.
    """

    count: int
    start: float
    start_error: float
    middle: Floats
    levels: Floats
    errors: Floats
    used: Floats

    @property
    def end(self) -> float:
        return float(self.levels[-1]) if len(self.levels) else math.nan

    @property
    def end_error(self) -> float:
        return float(self.errors[-1]) if len(self.errors) else math.nan

    def level_at(self, step: float) -> float:
        """The level around a step."""
        if not len(self.levels):
            return math.nan
        return float(np.interp(step, self.middle, self.levels))


@dataclass(frozen=True)
class Held:
    """The loss on held-out rows: [evaluations], and [draws, evaluations] with rows drawn anew.

    Args:
        rows: Rows that differ, of which the losses are known one by one; 0 where none are.
        guessed_start: The first point is the loss of the first steps in training, of rows still new then.
    """

    steps: npt.NDArray[np.int64]
    losses: Floats
    used: Floats
    draws: Floats
    rows: int = 0
    told_rows: int = 0  # with those that are the same
    repeated: float = 0.0  # share of the rows whose like is among them once more
    guessed_start: bool = False

    def error(self, one: int, other: int) -> float:
        """Standard error of the paired difference between two evaluations."""
        return float(np.std(self.draws[:, one] - self.draws[:, other]))

    def interval(self, one: int, other: int) -> tuple[float, float]:
        """95 % of the difference, the first less the second."""
        low, high = np.percentile(self.draws[:, one] - self.draws[:, other], [2.5, 97.5])
        return float(low), float(high)


@dataclass(frozen=True)
class Curves:
    """Both, and the single steps.

    Args:
        bad: Steps whose loss is no number.
        bad_evaluations: Evaluations whose loss is none.
    """

    steps: npt.NDArray[np.int64]
    losses: Floats
    training: Training
    held: Held
    bad: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    bad_evaluations: tuple[int, ...] = ()

    @cached_property
    def step(self) -> int:
        """The last one."""
        last = [int(part[-1]) for part in (self.steps, self.held.steps) if len(part)]
        return max([*last, *self.bad[-1:].tolist(), *self.bad_evaluations[-1:]], default=0)


def curves_of(gathered: Gathered) -> Curves:
    """The curves of a history."""
    steps, losses, rates = _ordered(gathered)
    finite = np.isfinite(losses)
    used = _used_up(rates)
    steps_f, losses_f = steps[finite], losses[finite]
    before = gathered.evaluations.get(0, {}).get("loss")
    training = _training(steps_f, losses_f, used[finite], before)
    held, bad_evaluations = _held(gathered, steps, used, training)
    return Curves(steps_f, losses_f, training, held, steps[~finite], bad_evaluations)


def _ordered(gathered: Gathered) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Steps in order, each once, as it was done last."""
    steps = np.array(gathered.steps, dtype=np.int64)
    losses, rates = np.array(gathered.losses, dtype=float), np.array(gathered.rates, dtype=float)
    if len(steps) > 1 and not (np.diff(steps) > 0).all():
        _unused, last = np.unique(steps[::-1], return_index=True)
        kept = len(steps) - 1 - last
        steps, losses, rates = steps[kept], losses[kept], rates[kept]
    return steps, losses, rates


def _used_up(rates: Floats) -> Floats:
    """The share of the learning rate so far that was used up after each step; of steps, without rates."""
    rates = np.where(np.isfinite(rates) & (rates > 0), rates, 0.0)
    total = np.cumsum(rates)
    if not len(rates) or total[-1] <= 0:
        return np.arange(1, len(rates) + 1) / max(1, len(rates))
    return np.asarray(total / total[-1])


def noise_of(values: Floats) -> float:
    """Standard deviation of single values about a smooth curve, from neighbours."""
    if len(values) < 3:
        return 0.0
    return float(MAD * np.median(np.abs(np.diff(values))) / math.sqrt(2))


def _training(steps: npt.NDArray[np.int64], losses: Floats, used: Floats, before: float | None) -> Training:
    """The curve of training; `before` is the loss on held-out rows before the first step."""
    count = len(losses)
    empty = np.zeros(0)
    if not count:
        return Training(0, math.nan, math.nan, empty, empty, empty, empty)
    noise = noise_of(losses)
    first = losses[: max(1, min(8, count // 20))]
    start = float(np.median(first))
    # The first step alone is measured before anything was changed: far too high a rate shows in the second
    start = min(start, max(float(losses[0]), before if before is not None and math.isfinite(before) else 0.0))
    blocks = max(1, min(_BLOCKS, count // (FEWEST_STEPS if count > 40 else 3)))
    levels, errors, middle, at = [], [], [], []
    for part in np.array_split(np.arange(count), blocks):
        spread = noise_of(losses[part]) if len(part) >= 4 * FEWEST_STEPS else noise
        levels.append(float(np.median(losses[part])))
        errors.append(_OF_MEDIAN * spread / math.sqrt(len(part)))
        middle.append(float(steps[part].mean()))
        at.append(float(used[part].mean()))
    start_error = _OF_MEDIAN * noise_of(losses[: max(len(first), 20)]) / math.sqrt(len(first))
    return Training(
        count,
        start,
        start_error,
        np.array(middle),
        np.array(levels),
        np.array(errors),
        np.array(at),
    )


def wobble_of(levels: Floats) -> float:
    """Standard deviation of single points about a curve that bends; 0 for fewer than seven points.

    Third differences tell it, which a smooth curve hardly has, without the first points and their fall.
    """
    if len(levels) < 7:
        return 0.0
    later = np.diff(levels[len(levels) // 6 + 1 :], 3)
    return float(MAD * np.median(np.abs(later)) / math.sqrt(20))


def difference_errors(draws: Floats) -> Floats:
    """Standard errors of all differences between evaluations, [evaluations, evaluations]."""
    count = draws.shape[1]
    if not count:
        return np.zeros((0, 0))
    together = np.atleast_2d(np.cov(draws.T))
    alone = np.diag(together)
    return np.sqrt(np.maximum(alone[:, None] + alone[None, :] - 2 * together, 0.0))


def windows(curves: Curves) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """First steps, medians and standard errors of at most fifty windows of at least five steps."""
    count = len(curves.losses)
    many = min(_WINDOWS, count // FEWEST_STEPS)
    if many < 2:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    parts = np.array_split(np.arange(count), many)
    levels = np.array([np.median(curves.losses[part]) for part in parts])
    # Noise as a share of the level, of the whole curve: where it diverges, neighbours differ for that reason
    level = np.repeat(np.abs(levels), [len(part) for part in parts])
    share = noise_of(curves.losses / np.where(level > 0, level, 1.0))
    errors = _OF_MEDIAN * share * np.abs(levels) / np.sqrt([len(part) for part in parts])
    return np.array([curves.steps[part[0]] for part in parts]), levels, errors


def _held(
    gathered: Gathered, steps: npt.NDArray[np.int64], used: Floats, training: Training
) -> tuple[Held, tuple[int, ...]]:
    known: dict[int, float] = {}
    bad = []
    for step in sorted(gathered.evaluations):
        loss = gathered.evaluations[step].get("loss")
        if loss is not None and math.isfinite(loss):
            known[step] = loss
        elif loss is not None:
            bad.append(step)
    paired = _paired(gathered, known)
    if paired is not None:
        at, centre, draws, rows, told, repeated = paired
        kept = _few(centre)
        at, centre, draws = at[kept], centre[kept], draws[:, kept]
        return Held(at, centre, _used_at(at, steps, used), draws, rows, told, repeated), tuple(bad)
    at = np.array(list(known), dtype=np.int64)
    centre = np.array(list(known.values()), dtype=float)
    guessed = len(at) > 0 and at[0] > 0 and training.count >= FEWEST_STEPS
    if guessed:
        at, centre = np.concatenate([[0], at]), np.concatenate([[training.start], centre])
    kept = _few(centre)
    at, centre = at[kept], centre[kept]
    draws = _wobbled(centre, training if guessed else None)
    return Held(at, centre, _used_at(at, steps, used), draws, guessed_start=guessed), tuple(bad)


def _few(losses: Floats) -> npt.NDArray[np.int64]:
    """The places of at most so many evaluations: evenly chosen, and the best and the last ones."""
    count = len(losses)
    if count <= _EVALUATIONS:
        return np.arange(count)
    chosen = np.linspace(0, count - 1, _EVALUATIONS).round().astype(np.int64)
    return np.unique([*chosen, int(np.argmin(losses)), count - 2])


def _used_at(at: npt.NDArray[np.int64], steps: npt.NDArray[np.int64], used: Floats) -> Floats:
    if not len(at):
        return np.zeros(0)
    if not len(steps):
        return np.asarray(at / max(1, int(at[-1])))
    return np.interp(at, np.concatenate([[0], steps]), np.concatenate([[0.0], used]))


def _paired(
    gathered: Gathered, known: dict[int, float]
) -> tuple[npt.NDArray[np.int64], Floats, Floats, int, int, float] | None:
    """Evaluations of which single rows are known: steps, losses, draws, and what `Held` says of the rows."""
    if len(gathered.rows) < 2:
        return None
    last = gathered.rows[max(gathered.rows)]
    labels = np.array(last[1])
    same = [step for step in sorted(gathered.rows) if len(gathered.rows[step][0]) == len(labels)]
    if len(same) < 2 or (known and max(known) not in same):
        return None  # what is newest has no rows: they would tell of an older state
    table = np.array([gathered.rows[step][0] for step in same])
    fine = np.isfinite(table).all(axis=0) & np.isfinite(labels) & (labels > 0)
    if not fine.any():
        return None
    table, labels = table[:, fine], labels[fine]
    # Rows that are copies of each other are one row: all of their losses are the same
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
    means = every + (means - centre) * math.sqrt(len(labels) / held_out)
    return np.array(same, dtype=np.int64), every, means, rows, len(labels), repeated


def _wobbled(centre: Floats, first_of: Training | None) -> Floats:
    """Draws where rows are not known: each evaluation is moved by what the curve itself wobbles."""
    random = np.random.default_rng(_SEED)
    if not len(centre):
        return np.zeros((DRAWS, 0))
    noise = wobble_of(centre)
    # Hundreds of rows tell a loss to so much of it, and tens of rows to so much
    errors = np.clip(noise, 0.003 * np.abs(centre), 0.02 * np.abs(centre))
    if first_of is not None:
        errors[0] = max(errors[0], first_of.start_error)
    return centre + random.normal(size=(DRAWS, len(centre))) * errors
