"""Rules for unstable training: losses that rise above their start, jump, swing, or are NaN or infinite."""

from __future__ import annotations

import math

import numpy as np

from tui_tuner.verdicts import limits
from tui_tuner.verdicts.judged_case import Case, Levels, Ruling


def rule_unstable(case: Case, now: Levels) -> Ruling | None:
    curves = case.curves
    bad, count = curves.bad, len(curves.losses)
    # A few bad steps may have been skipped or rolled back, but not those at the end of the run
    if len(bad) and (len(bad) > limits.BAD_NUMBERS * (count + len(bad)) or bad[-1] >= curves.last_step - 1):
        return Ruling("unstable", "bad_numbers", int(bad[0]))
    if curves.bad_evaluations and curves.bad_evaluations[-1] >= curves.last_step - 1:
        return Ruling("unstable", "bad_numbers", curves.bad_evaluations[0])
    if len(now.windows) >= 2:
        found = _rule_risen(case, now) or _rule_thrown(case, now) or _rule_wandering(case, now)
        if found is not None:
            return found
    return _rule_held_risen(case, now)


def _rule_held_risen(case: Case, now: Levels) -> Ruling | None:
    """Detect held-out losses far above their start while training had not fallen either: divergence."""
    held, curves, scale = now.held, case.curves, case.start_scale
    if len(held) < 2 or not len(now.training):
        return None
    least = np.maximum(limits.ABOVE_START * scale, limits.CLEARLY * case.rise_errors)
    high = np.flatnonzero(held - held[0] > least)
    # One high evaluation, or a few, may come down again
    if len(high) < max(2, (len(held) - 1) / 3):
        return None
    for place in high:
        step = int(curves.held.steps[place])
        level = float(np.interp(step, curves.training.middle, now.training))
        made_good = step <= limits.EARLY * curves.last_step and held[0] - held[-1] > limits.RECOVERED * scale
        if now.start - level < limits.ENDS_ABOVE * scale and not made_good:
            return Ruling("unstable", "held_rose", step)
    return None


def _rule_risen(case: Case, now: Levels) -> Ruling | None:
    """Detect a training loss above its start, or back near it after a gain."""
    levels, errors, steps = now.windows, case.window_errors, case.window_steps
    scale, start = case.start_scale, now.start
    start_error = case.curves.training.start_error
    over = levels - start
    error = limits.CLEARLY * np.hypot(errors, start_error)
    if over[-1] > max(limits.ENDS_ABOVE * scale, error[-1]):
        return Ruling("unstable", "ends_above", int(steps[int(np.argmax(over > limits.ENDS_ABOVE * scale))]))
    # A rise while the rate warms up is excused if the run recovered from it
    high = np.flatnonzero((over > limits.ABOVE_START * scale) & (over > error))
    if len(high):
        back = steps[np.flatnonzero(over > limits.ENDS_ABOVE * scale)[-1]]
        small = back <= limits.EARLY * case.curves.last_step and over.max() < limits.FAR_ABOVE * scale
        if not (small and -over[-1] > limits.RECOVERED * scale):
            return Ruling("unstable", "rose_above", int(steps[high[0]]))
    lowest = int(np.argmin(levels))
    gained, lost = start - levels[lowest], levels[-1] - levels[lowest]
    clear = limits.CLEARLY * math.hypot(errors[-1], errors[lowest])
    if lost > max(limits.LOST_AGAIN * gained, limits.ENDS_ABOVE * scale, clear):
        return Ruling("unstable", "lost_again", int(steps[min(lowest + 1, len(steps) - 1)]))
    return None


def _rule_thrown(case: Case, now: Levels) -> Ruling | None:
    """Detect single steps far above the start from which the run never really recovered.

    Far too high a rate destroys the weights in its first steps, and what follows is learned from scratch.
    """
    thrown, levels = case.thrown_steps, now.windows
    if len(thrown) < (1 if case.setting.wild_rate else limits.THROWN):
        return None
    if levels[-1] < limits.MADE_GOOD * now.start:
        return None
    middle = float(np.interp(case.curves.last_step / 2, case.window_steps, levels))
    if middle - levels[-1] > limits.MAKES_GOOD * now.start and levels[-1] < now.start:
        return None
    return Ruling("unstable", "thrown", int(thrown[0]))


def _rule_wandering(case: Case, now: Levels) -> Ruling | None:
    """Detect a training loss that keeps going up and down: steps that jump, or levels that do not settle."""
    levels, errors, steps = now.windows, case.window_errors, case.window_steps
    rises = np.diff(levels)
    clear = rises > limits.CLEARLY * np.hypot(errors[1:], errors[:-1])
    spread = max(float(levels.max()), now.start) - float(levels.min())
    if (
        rises[clear].sum() > max(limits.WANDERS * spread, limits.ABOVE_START * case.start_scale)
        and clear.sum() >= 3
    ):
        return Ruling("unstable", "wanders", int(steps[int(np.argmax(clear)) + 1]))
    jumps = case.jump_steps
    if len(jumps) >= limits.JUMPS and jumps[-1] - jumps[0] > case.curves.last_step / 2:
        return Ruling("unstable", "jumps", int(jumps[0]))
    return None


def rule_held_wandering(case: Case, now: Levels) -> Ruling | None:
    """Detect held-out losses that swing clearly up and down."""
    held, curves = now.held, case.curves
    if len(held) < 5:
        return None
    # Overfitting does not come and go, so that a turn back down tells the two apart
    moves = np.diff(held)
    clear = np.abs(moves) > np.maximum(limits.SURE * case.move_errors, limits.TURNS_BY * case.start_scale)
    signs = np.sign(moves[clear])
    turns = np.flatnonzero((signs[:-1] > 0) & (signs[1:] < 0))
    if len(turns) < limits.TURNS or held[-1] < limits.MADE_GOOD * held[0]:
        return None
    return Ruling("unstable", "held_wanders", int(curves.held.steps[np.flatnonzero(clear)[turns[0]] + 1]))
