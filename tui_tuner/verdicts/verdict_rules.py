"""The rules that turn two curves and their metrics into one of the nine verdicts: pure functions of numbers.

They are applied to the curves as measured, and again to each draw of other rows and other steps; the share
of draws with the same verdict is its confidence.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from tui_tuner.verdicts import limits
from tui_tuner.verdicts.curves import Floats
from tui_tuner.verdicts.judged_case import Case, Levels, Ruling
from tui_tuner.verdicts.unsteady_rules import rule_held_wandering, rule_unstable

# Verdicts that only rows outside of the training data can support; the training loss shows the others too
RESTS_ON_NEW_ROWS = ("good", "not_converged", "overfit", "memorised")


def apply_verdict_rules(case: Case, now: Levels) -> Ruling:
    """Return the ruling on one draw: that of the first rule that applies."""
    # From the strongest evidence to the weakest: each rule may assume that those before it did not apply
    for ask in (
        rule_unstable,
        _rule_too_little,
        _rule_chance,
        rule_held_wandering,
        _rule_nothing,
        _rule_worse_again,
        _rule_going_on,
        _rule_standing,
    ):
        found = ask(case, now)
        if found is not None:
            break
    else:
        found = Ruling("good", "good")
    if found.word in RESTS_ON_NEW_ROWS and _is_flattered(case):
        return Ruling("unclear", "copies")
    return found


# ---- too little to tell --------------------------------------------------------------------------------


def _rule_too_little(case: Case, now: Levels) -> Ruling | None:
    held, training = case.curves.held, case.curves.training
    if case.curves.last_step < limits.FEWEST_STEPS:
        return Ruling("unclear", "no_steps")
    if len(held.steps) < 2:
        if training.count >= limits.FEWEST_ALONE and _is_flat(case, now):
            return Ruling("nothing_learnt", "training_flat")
        return Ruling("unclear", "no_evaluations" if not len(held.steps) else "one_evaluation")
    rows = held.rows or case.scores.rows
    if rows and rows < limits.FEWEST_ROWS:
        return Ruling("unclear", "few_rows")
    return None


def has_loss_fallen(case: Case, now: Levels) -> bool:
    """Return whether the training loss is lower at the end than at the start, by more than chance."""
    training = case.curves.training
    if not len(now.training):
        return False
    fell = now.start - now.training[-1]
    error = math.hypot(training.start_error, training.end_error)
    return bool(fell > max(limits.SURE * error, limits.LEAST_GAIN * case.start_scale))


def _is_flat(case: Case, now: Levels) -> bool:
    """Return whether the training loss did not fall, by its first and last level and by its outer thirds."""
    if has_loss_fallen(case, now):
        return False
    fell, error = case.end_fall
    return not fell > max(limits.SURE * error, limits.FELL * case.start_scale)


# ---- the gain ------------------------------------------------------------------------------------------


def convert_losses_to_ratios(levels: Floats, scale: float) -> Floats:
    """Return losses on a scale where equal ratios are equally far apart: logarithms, if all are above 0.

    A model that begins far from its rows falls from 10 to 2 in a few steps, and all that matters happens
    between 2 and 1.
    """
    # The added hundredth of the scale keeps ratios of losses close to 0 from counting as large differences
    return np.log(levels + limits.NOTHING * scale) if len(levels) and levels.min() > 0 else levels


def is_learnt_by_heart(case: Case, now: Levels) -> bool:
    """Return whether training rows are memorised: next to nothing is left of their loss."""
    return len(now.training) > 1 and bool(now.training[-1] < limits.BY_HEART * max(now.start, 0.0))


def compute_gain_share(case: Case, now: Levels) -> float:
    """Return the gain on held-out rows as a share of the gain in training, in ratios."""
    ends = np.array([now.start, now.training[-1], now.held[0], now.held[-1]])
    start, end, before, after = convert_losses_to_ratios(ends, case.start_scale)
    return float((before - after) / max(start - end, 1e-12))


def _fell_share(case: Case, now: Levels) -> float:
    return float((now.start - now.training[-1]) / case.start_scale) if len(now.training) else 0.0


def _is_flattered(case: Case) -> bool:
    """Return whether held-out rows say nothing about new ones, because most of them are trained on."""
    # Where the same few texts keep recurring, randomly held-out rows are trained on too, and so will be the
    # texts that the model is made for: only copies beyond that share count
    chance = max(case.setting.repeated, case.curves.held.repeated)
    return case.setting.copies - chance >= limits.MOST_COPIES


def _rule_chance(case: Case, now: Levels) -> Ruling | None:
    """Detect predicted classes or numbers that are not better than chance."""
    scores, held = case.scores, now.held
    if not scores.chance:
        return None
    fell = _fell_share(case, now) if has_loss_fallen(case, now) else 0.0
    error = case.held_errors[0, -1]
    gain = held[0] - held[-1]
    worse = -gain > limits.SURE * error
    if is_learnt_by_heart(case, now) or (worse and fell > limits.FELL_FAR):
        return Ruling("memorised", "memorised_chance")
    below_prior = scores.prior is None or held[-1] < scores.prior - limits.LEAST_GAIN * case.start_scale
    learns = gain > limits.SURE * error and gain > limits.LEAST_GAIN * case.start_scale
    # Its answers are not better yet, but their probabilities improve with each step
    if learns and below_prior and estimate_added_gain(case, now) >= limits.MATTERS:
        return None
    return Ruling("nothing_learnt", "chance")


def _choose_bases(case: Case, best: int) -> range:
    """Choose the points to measure gains from: the start; if that is a guess, the first evaluation too."""
    return range(2 if case.curves.held.guessed_start and best > 1 else 1)


@lru_cache(maxsize=64)
def find_best_error_bound(evaluations: int) -> float:
    """Return by how many standard errors the best of so many differences must exceed 0, at 99 %."""
    # Bonferroni's correction: the best of many comparisons exceeds 0 by chance more often than a single one
    return NormalDist().inv_cdf(1 - 0.005 / max(1, evaluations))


def _rule_nothing(case: Case, now: Levels) -> Ruling | None:
    """Detect held-out rows that were not better than at the start by more than chance, at any evaluation."""
    held, scale = now.held, case.start_scale
    best = 1 + int(np.argmin(held[1:]))
    error = case.held_errors[0, best]
    for base in _choose_bases(case, best):
        gain, enough = (
            held[base] - held[best],
            find_best_error_bound(len(held) - 1) * case.held_errors[base, best],
        )
        if gain > enough and gain > limits.LEAST_GAIN * scale:
            return None
    last_error = case.held_errors[0, -1]
    fell = _fell_share(case, now) if has_loss_fallen(case, now) else 0.0
    if fell > limits.FELL:
        if is_learnt_by_heart(case, now):
            return Ruling("memorised", "memorised")
        if held[-1] - held[0] > limits.SURE * last_error:
            return Ruling("overfit", "overfit_at_once", int(case.curves.held.steps[0]))
    alone = case.curves.held.guessed_start and case.curves.training.count >= limits.FEWEST_ALONE
    if alone and not fell and _is_flat(case, now):
        return Ruling("nothing_learnt", "training_flat")
    # From here on, no gain was found although the interval is narrow enough to have shown one
    if error * limits.LIKELY > limits.WIDE * scale:
        return Ruling("unclear", "wide")
    if fell > limits.FELL:
        return Ruling("memorised" if fell > limits.FELL_FAR else "overfit", "nothing_held", 0)
    if case.scores.name and case.scores.kept_share >= limits.KEPT:
        return None
    return Ruling("nothing_learnt", "nothing")


def _rule_worse_again(case: Case, now: Levels) -> Ruling | None:
    """Detect held-out rows that became worse while the training loss fell: overfitting, or memorising."""
    held, scores, steps = now.held, case.scores, case.curves.held.steps
    best = int(np.argmin(held))
    in_ratios = convert_losses_to_ratios(held, case.start_scale)
    gain, rise = float(in_ratios[0] - in_ratios[best]), float(in_ratios[-1] - in_ratios[best])
    if (
        is_learnt_by_heart(case, now)
        and compute_gain_share(case, now) < limits.LITTLE
        and scores.kept_share < limits.KEPT
    ):
        return Ruling("memorised", "memorised", int(steps[best]) or None)
    clear = held[-1] - held[best] > limits.SURE * case.held_errors[best, -1]
    if best == len(held) - 1 or not clear or rise < min(limits.WORSE, limits.LOST * gain):
        return None
    if len(now.training):
        then = float(np.interp(float(steps[best]), case.curves.training.middle, now.training))
        if now.training[-1] > (1 - limits.WORSE) * then:
            return None  # the training loss has stopped falling too
    if scores.is_at_best and rise < limits.MUCH_WORSE * gain:
        return None
    return Ruling("overfit", "overfit_but_kept" if scores.is_at_best else "overfit", int(steps[best]))


# ---- the pace ------------------------------------------------------------------------------------------


def measure_loss_thirds(case: Case, now: Levels) -> tuple[float, float, float] | None:
    """Return the fall of the held-out loss over each third of the learning rate used up.

    The training loss replaces it if there are too few evaluations; None if it has too few points too.
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


def estimate_added_gain(case: Case, now: Levels) -> float:
    """Estimate how much as many steps again would add, as a share of the gain so far.

    The pace is assumed to slow down as it did from the second third of the learning rate to the last: each
    further third adds `ratio` times as much as the one before it. The first third is left out because a new
    model's loss falls suddenly there.
    """
    first, second, third = measure_loss_thirds(case, now) or (0.0, 0.0, 0.0)
    total = first + second + third
    if third <= 0 or total <= 0:
        return 0.0
    ratio = min(1.0, third / second) if second > 0 else 1.0
    more = third * (ratio + ratio**2 + ratio**3) / total
    # A positive loss is taken to have its lower bound at 0
    last = float(now.held[-1])
    return min(more, last / total) if last > 0 else more


def _rule_going_on(case: Case, now: Levels) -> Ruling | None:
    """Detect a model that still improves at a pace that matters: too few steps, or too low a rate."""
    held, setting = now.held, case.setting
    if measure_loss_thirds(case, now) is None:
        return Ruling("unclear", "no_pace")
    gain = held[0] - held[-1]
    share = gain / case.start_scale
    # Even a constant pace, a third of the gain in each third of the rate, would be lost in the noise
    if gain / 3 < limits.SURE * _last_error(case, now) and not is_learnt_by_heart(case, now):
        if _named_since(case):
            return None
        return Ruling("unclear", "no_pace")
    scores = case.scores
    if share >= limits.SMALL and scores.named_more is not None and scores.named_more < limits.NAMES_MORE:
        return Ruling("underfit", "frequencies")
    if setting.few_weights and 0 < share < limits.SMALL and case.curves.last_step >= limits.SOME_STEPS:
        return Ruling("underfit", "few_weights")
    if estimate_added_gain(case, now) < limits.MATTERS or not _falls_in_the_end(case, now):
        return None
    many, some = (case.curves.last_step >= least for least in (limits.MANY_STEPS, limits.SOME_STEPS))
    if setting.low_rate and share < (limits.SMALL_AT_LOW_RATE if some else limits.SMALL):
        return Ruling("underfit", "low_rate")
    if many and share < limits.SMALL and estimate_added_gain(case, now) > limits.HARDLY_BEGUN:
        return Ruling("underfit", "slow")
    return Ruling("not_converged", "going_on")


def _named_since(case: Case) -> bool:
    """Return whether the deciding metric reached its best in the first half of the run and has kept it."""
    scores, held = case.scores, case.curves.held
    if (
        not scores.is_at_best
        or scores.kept_share < limits.KEPT
        or scores.best_step > case.curves.last_step / 2
    ):
        return False
    return bool(np.interp(scores.best_step, held.steps, held.used) <= 0.5)


def _falls_in_the_end(case: Case, now: Levels) -> bool:
    """Return whether the loss fell over the last third of the rate, or a little more, by more than chance."""
    held, curves = now.held, case.curves
    if len(held) >= limits.FEWEST_POINTS:
        fell = held[_find_last_third(curves.held.used)] - held[-1]
    else:
        fell = now.training[_find_last_third(curves.training.used)] - now.training[-1]
    return bool(fell > limits.SURE * _last_error(case, now))


def _last_error(case: Case, now: Levels) -> float:
    """Return the standard error of the fall over the last third of the learning rate."""
    curves = case.curves
    if len(now.held) >= limits.FEWEST_POINTS:
        return float(case.held_errors[_find_last_third(curves.held.used), -1])
    errors = curves.training.errors
    return math.hypot(errors[_find_last_third(curves.training.used)], errors[-1])


def _find_last_third(used: Floats) -> int:
    """Return the place of the last point before the last third of the learning rate."""
    # The tiny addition keeps a point at exactly two thirds, which rounding may have moved
    return max(0, int(np.searchsorted(used, 2 / 3 + 1e-9)) - 1)


def _rule_standing(case: Case, now: Levels) -> Ruling | None:
    """Detect a plateau of at least half of the steps and half of the rate, or a gain that may be chance."""
    held, curves = now.held, case.curves
    levels = convert_losses_to_ratios(held, case.start_scale)
    gain = float(levels[0] - levels.min())
    # A curve too noisy to show a plateau itself: the deciding metric shows it
    if (
        _named_since(case)
        and gain > 0
        and limits.LIKELY * case.wobble > 2 * limits.STANDS * (held[0] - held.min())
    ):
        return Ruling("plateau", "plateau", case.scores.best_step)
    if len(held) >= limits.FEWEST_POINTS and gain > 0:
        noise = limits.LIKELY * case.wobble / max(float(held.min()), limits.NOTHING * case.start_scale)
        since = int(
            np.argmax(levels <= levels.min() + np.clip(noise, limits.STANDS * gain, 2 * limits.STANDS * gain))
        )
        at, used = int(curves.held.steps[since]), float(curves.held.used[since])
        if since < len(held) - 2 and at <= curves.last_step / 2 and used <= 0.5:
            return Ruling("plateau", "plateau", at)
    gains = [
        (held[base] - held[-1], case.held_errors[base, -1]) for base in _choose_bases(case, len(held) - 1)
    ]
    error = gains[0][1]
    if not any(more > limits.LIKELY * least for more, least in gains):
        wide = error * limits.LIKELY > limits.WIDE * case.start_scale
        return Ruling("unclear", "wide") if wide else Ruling("nothing_learnt", "nothing")
    return None
