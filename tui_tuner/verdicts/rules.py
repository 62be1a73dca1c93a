"""The rules: from what two curves and their metrics say, one of the nine words. Pure functions of numbers.

They are asked once for the curves as they are, and again for each draw of other rows and other steps:
how often the word is the same is its confidence.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from tui_tuner.verdicts import limits
from tui_tuner.verdicts.cases import Case, Levels, Ruling
from tui_tuner.verdicts.curves import Floats
from tui_tuner.verdicts.unsteady import held_wandering, unstable

# What only rows can tell that are not trained on; the other words training shows as well
RESTS_ON_NEW_ROWS = ("good", "not_converged", "overfit", "memorised")


def rule(case: Case, now: Levels) -> Ruling:
    """The word for one draw."""
    for ask in (
        unstable,
        _too_little,
        _chance,
        held_wandering,
        _nothing,
        _worse_again,
        _going_on,
        _standing,
    ):
        found = ask(case, now)
        if found is not None:
            break
    else:
        found = Ruling("good", "good")
    if found.word in RESTS_ON_NEW_ROWS and _flattered(case):
        return Ruling("unclear", "copies")
    return found


# ---- too little to tell --------------------------------------------------------------------------------


def _too_little(case: Case, now: Levels) -> Ruling | None:
    held, training = case.curves.held, case.curves.training
    if case.curves.step < limits.FEWEST_STEPS:
        return Ruling("unclear", "no_steps")
    if len(held.steps) < 2:
        if training.count >= limits.FEWEST_ALONE and _flat(case, now):
            return Ruling("nothing_learnt", "training_flat")
        return Ruling("unclear", "no_evaluations" if not len(held.steps) else "one_evaluation")
    rows = held.rows or case.scores.rows
    if rows and rows < limits.FEWEST_ROWS:
        return Ruling("unclear", "few_rows")
    return None


def fell_clearly(case: Case, now: Levels) -> bool:
    """Whether the loss in training is lower at the end than at the start, by more than chance."""
    training = case.curves.training
    if not len(now.training):
        return False
    fell = now.start - now.training[-1]
    error = math.hypot(training.start_error, training.end_error)
    return bool(fell > max(limits.SURE * error, limits.LEAST_GAIN * case.scale))


def _flat(case: Case, now: Levels) -> bool:
    """Whether the loss in training did not fall: neither its ends tell so, nor the steps of its thirds."""
    if fell_clearly(case, now):
        return False
    fell, error = case.ends
    return not fell > max(limits.SURE * error, limits.FELL * case.scale)


# ---- what was learnt -----------------------------------------------------------------------------------


def ratios(levels: Floats, scale: float) -> Floats:
    """Losses so that equal steps are equal ratios: logarithms, where all are above 0.

    A model that begins far from its rows falls from 10 to 2 in a few steps, and all that matters happens
    between 2 and 1. What is left below a hundredth of the scale is next to nothing, in whatever ratio.
    """
    return np.log(levels + limits.NOTHING * scale) if len(levels) and levels.min() > 0 else levels


def by_heart(case: Case, now: Levels) -> bool:
    """Whether training rows are known by heart: next to nothing of their loss is left."""
    return len(now.training) > 1 and bool(now.training[-1] < limits.BY_HEART * max(now.start, 0.0))


def got_share(case: Case, now: Levels) -> float:
    """What held-out rows got of what training gained, in ratios."""
    ends = np.array([now.start, now.training[-1], now.held[0], now.held[-1]])
    start, end, before, after = ratios(ends, case.scale)
    return float((before - after) / max(start - end, 1e-12))


def _fell_share(case: Case, now: Levels) -> float:
    return float((now.start - now.training[-1]) / case.scale) if len(now.training) else 0.0


def _flattered(case: Case) -> bool:
    """Whether held-out rows say nothing about new ones, as most of them are trained on.

    Where the same few texts come again and again, rows held out by chance are trained on, too, as will be
    those that the model is made for. So only copies beyond that count.
    """
    chance = max(case.setting.repeated, case.curves.held.repeated)
    return case.setting.copies - chance >= limits.MOST_COPIES


def _chance(case: Case, now: Levels) -> Ruling | None:
    """Classes or numbers that are told no better than by chance."""
    scores, held = case.scores, now.held
    if not scores.chance:
        return None
    fell = _fell_share(case, now) if fell_clearly(case, now) else 0.0
    error = case.held_errors[0, -1]
    gain = held[0] - held[-1]
    worse = -gain > limits.SURE * error
    if by_heart(case, now) or (worse and fell > limits.FELL_FAR):
        return Ruling("memorised", "memorised_chance")
    below_prior = scores.prior is None or held[-1] < scores.prior - limits.LEAST_GAIN * case.scale
    learns = gain > limits.SURE * error and gain > limits.LEAST_GAIN * case.scale
    if learns and below_prior and added(case, now) >= limits.MATTERS:
        return None  # not yet better in what it names, but surer of it with each step
    return Ruling("nothing_learnt", "chance")


def _bases(case: Case, best: int) -> range:
    """Where gains are counted from: the start; where that is a guess, also the first evaluation there was."""
    return range(2 if case.curves.held.guessed_start and best > 1 else 1)


@lru_cache(maxsize=64)
def sure_of_best(evaluations: int) -> float:
    """Standard errors by which the best of so many differences has to exceed 0, at 99 %."""
    return NormalDist().inv_cdf(1 - 0.005 / max(1, evaluations))


def _nothing(case: Case, now: Levels) -> Ruling | None:
    """Held-out rows that are no better than at the start by more than chance, at any evaluation."""
    held, scale = now.held, case.scale
    best = 1 + int(np.argmin(held[1:]))
    error = case.held_errors[0, best]
    for base in _bases(case, best):
        gain, enough = held[base] - held[best], sure_of_best(len(held) - 1) * case.held_errors[base, best]
        if gain > enough and gain > limits.LEAST_GAIN * scale:
            return None
    last_error = case.held_errors[0, -1]
    fell = _fell_share(case, now) if fell_clearly(case, now) else 0.0
    if fell > limits.FELL:
        if by_heart(case, now):
            return Ruling("memorised", "memorised")
        if held[-1] - held[0] > limits.SURE * last_error:
            return Ruling("overfit", "overfit_at_once", int(case.curves.held.steps[0]))
    alone = case.curves.held.guessed_start and case.curves.training.count >= limits.FEWEST_ALONE
    if alone and not fell and _flat(case, now):
        return Ruling("nothing_learnt", "training_flat")
    if error * limits.LIKELY > limits.WIDE * scale:
        return Ruling("unclear", "wide")
    if fell > limits.FELL:
        return Ruling("memorised" if fell > limits.FELL_FAR else "overfit", "nothing_held", 0)
    if case.scores.name and case.scores.kept >= limits.KEPT:
        return None
    return Ruling("nothing_learnt", "nothing")


def _worse_again(case: Case, now: Levels) -> Ruling | None:
    """Held-out rows that became worse while training still fell: overfitting, or all by heart."""
    held, scores, steps = now.held, case.scores, case.curves.held.steps
    best = int(np.argmin(held))
    in_ratios = ratios(held, case.scale)
    gain, rise = float(in_ratios[0] - in_ratios[best]), float(in_ratios[-1] - in_ratios[best])
    if by_heart(case, now) and got_share(case, now) < limits.LITTLE and scores.kept < limits.KEPT:
        return Ruling("memorised", "memorised", int(steps[best]) or None)
    clear = held[-1] - held[best] > limits.SURE * case.held_errors[best, -1]
    if best == len(held) - 1 or not clear or rise < min(limits.WORSE, limits.LOST * gain):
        return None
    if len(now.training):
        then = float(np.interp(float(steps[best]), case.curves.training.middle, now.training))
        if now.training[-1] > (1 - limits.WORSE) * then:
            return None  # both stand still
    if scores.at_best and rise < limits.MUCH_WORSE * gain:
        return None
    return Ruling("overfit", "overfit_but_kept" if scores.at_best else "overfit", int(steps[best]))


# ---- the pace ------------------------------------------------------------------------------------------


def thirds(case: Case, now: Levels) -> tuple[float, float, float] | None:
    """What each third of the rate brought on held-out rows; in training, where those are too few points.

    None where there are too few points for thirds.
    """
    held, curves = now.held, case.curves
    if len(held) >= limits.FEWEST_POINTS:
        levels, used = held, curves.held.used
    elif len(now.training) >= limits.FEWEST_POINTS:
        levels = np.concatenate([[now.start], now.training])
        used = np.concatenate([[0.0], curves.training.used])
    else:
        return None
    first, second = np.interp([1 / 3, 2 / 3], used, levels)
    return float(levels[0] - first), float(first - second), float(second - levels[-1])


def added(case: Case, now: Levels) -> float:
    """The share of what was gained so far that as many steps again would add.

    The pace slows down as it did from the second third of the rate to the last: each third brings `ratio`
    times what the one before brought. The first third is left out: it is the sudden fall of a new model.
    """
    first, second, third = thirds(case, now) or (0.0, 0.0, 0.0)
    total = first + second + third
    if third <= 0 or total <= 0:
        return 0.0
    ratio = min(1.0, third / second) if second > 0 else 1.0
    more = third * (ratio + ratio**2 + ratio**3) / total
    last = float(now.held[-1])
    return min(more, last / total) if last > 0 else more  # no loss of this kind falls below 0


def _going_on(case: Case, now: Levels) -> Ruling | None:
    """Still getting better at a pace that matters: too few steps, or too low a rate."""
    held, setting = now.held, case.setting
    if thirds(case, now) is None:
        return Ruling("unclear", "no_pace")
    gain = held[0] - held[-1]
    share = gain / case.scale
    if gain / 3 < limits.SURE * _last_error(case, now) and not by_heart(case, now):
        if _named_since(case):
            return None
        return Ruling("unclear", "no_pace")  # even a pace that never slowed down could not be told from noise
    scores = case.scores
    if share >= limits.SMALL and scores.named_more is not None and scores.named_more < limits.NAMES_MORE:
        return Ruling("underfit", "frequencies")
    if setting.few_weights and 0 < share < limits.SMALL and case.curves.step >= limits.SOME_STEPS:
        return Ruling("underfit", "few_weights")
    if added(case, now) < limits.MATTERS or not _falls_in_the_end(case, now):
        return None
    many, some = (case.curves.step >= least for least in (limits.MANY_STEPS, limits.SOME_STEPS))
    if setting.low_rate and share < (limits.SMALL_AT_LOW_RATE if some else limits.SMALL):
        return Ruling("underfit", "low_rate")
    if many and share < limits.SMALL and added(case, now) > limits.HARDLY_BEGUN:
        return Ruling("underfit", "slow")
    return Ruling("not_converged", "going_on")


def _named_since(case: Case) -> bool:
    """Whether the metric that decides was at its best by half of the run, and has been since."""
    scores, held = case.scores, case.curves.held
    if not scores.at_best or scores.kept < limits.KEPT or scores.best_step > case.curves.step / 2:
        return False
    return bool(np.interp(scores.best_step, held.steps, held.used) <= 0.5)


def _falls_in_the_end(case: Case, now: Levels) -> bool:
    """Whether the last third of the rate, or a little more, brought something by more than chance."""
    held, curves = now.held, case.curves
    if len(held) >= limits.FEWEST_POINTS:
        fell = held[_before(curves.held.used)] - held[-1]
    else:
        fell = now.training[_before(curves.training.used)] - now.training[-1]
    return bool(fell > limits.SURE * _last_error(case, now))


def _last_error(case: Case, now: Levels) -> float:
    """Standard error of what the last third of the rate brought."""
    curves = case.curves
    if len(now.held) >= limits.FEWEST_POINTS:
        return float(case.held_errors[_before(curves.held.used), -1])
    errors = curves.training.errors
    return math.hypot(errors[_before(curves.training.used)], errors[-1])


def _before(used: Floats) -> int:
    """The last point before the last third of the rate."""
    return max(0, int(np.searchsorted(used, 2 / 3 + 1e-9)) - 1)


def _standing(case: Case, now: Levels) -> Ruling | None:
    """Nothing more for at least half of the steps, with at least half of the rate."""
    held, curves = now.held, case.curves
    levels = ratios(held, case.scale)
    gain = float(levels[0] - levels.min())
    if (
        _named_since(case)
        and gain > 0
        and limits.LIKELY * case.wobble > 2 * limits.STANDS * (held[0] - held.min())
    ):
        return Ruling("plateau", "plateau", case.scores.best_step)
    if len(held) >= limits.FEWEST_POINTS and gain > 0:
        noise = limits.LIKELY * case.wobble / max(float(held.min()), limits.NOTHING * case.scale)
        since = int(
            np.argmax(levels <= levels.min() + np.clip(noise, limits.STANDS * gain, 2 * limits.STANDS * gain))
        )
        at, used = int(curves.held.steps[since]), float(curves.held.used[since])
        if since < len(held) - 2 and at <= curves.step / 2 and used <= 0.5:
            return Ruling("plateau", "plateau", at)
    gains = [(held[base] - held[-1], case.held_errors[base, -1]) for base in _bases(case, len(held) - 1)]
    error = gains[0][1]
    if not any(more > limits.LIKELY * least for more, least in gains):
        wide = error * limits.LIKELY > limits.WIDE * case.scale
        return Ruling("unclear", "wide") if wide else Ruling("nothing_learnt", "nothing")
    return None
