"""Rules for what falls apart: losses that rise above their start, jump, wander, or are no numbers."""

from __future__ import annotations

import math

import numpy as np

from tui_tuner.verdicts import limits
from tui_tuner.verdicts.cases import Case, Levels, Ruling


def unstable(case: Case, now: Levels) -> Ruling | None:
    curves = case.curves
    bad, count = curves.bad, len(curves.losses)
    if len(bad) and (len(bad) > limits.BAD_NUMBERS * (count + len(bad)) or bad[-1] >= curves.step - 1):
        return Ruling("unstable", "bad_numbers", int(bad[0]))
    if curves.bad_evaluations and curves.bad_evaluations[-1] >= curves.step - 1:
        return Ruling("unstable", "bad_numbers", curves.bad_evaluations[0])
    if len(now.windows) >= 2:
        found = _risen(case, now) or _thrown(case, now) or _wandering(case, now)
        if found is not None:
            return found
    return _held_risen(case, now)


def _held_risen(case: Case, now: Levels) -> Ruling | None:
    """Held-out rows far above their start while training had not fallen either: that is divergence."""
    held, curves, scale = now.held, case.curves, case.scale
    if len(held) < 2 or not len(now.training):
        return None
    least = np.maximum(limits.ABOVE_START * scale, limits.CLEARLY * case.rise_errors)
    high = np.flatnonzero(held - held[0] > least)
    if len(high) < max(2, (len(held) - 1) / 3):
        return None  # a single evaluation, or few of them, that came down again
    for place in high:
        step = int(curves.held.steps[place])
        level = float(np.interp(step, curves.training.middle, now.training))
        made_good = step <= limits.EARLY * curves.step and held[0] - held[-1] > limits.RECOVERED * scale
        if now.start - level < limits.ENDS_ABOVE * scale and not made_good:
            return Ruling("unstable", "held_rose", step)
    return None


def _risen(case: Case, now: Levels) -> Ruling | None:
    """Training above its start, or back at it after it had gained something."""
    levels, errors, steps = now.windows, case.window_errors, case.window_steps
    scale, start = case.scale, now.start
    start_error = case.curves.training.start_error
    over = levels - start
    error = limits.CLEARLY * np.hypot(errors, start_error)
    # where the end is above the start
    if over[-1] > max(limits.ENDS_ABOVE * scale, error[-1]):
        return Ruling("unstable", "ends_above", int(steps[int(np.argmax(over > limits.ENDS_ABOVE * scale))]))
    # where it was far above it, unless that was early and is made good
    high = np.flatnonzero((over > limits.ABOVE_START * scale) & (over > error))
    if len(high):
        back = steps[np.flatnonzero(over > limits.ENDS_ABOVE * scale)[-1]]
        small = back <= limits.EARLY * case.curves.step and over.max() < limits.FAR_ABOVE * scale
        if not (small and -over[-1] > limits.RECOVERED * scale):
            return Ruling("unstable", "rose_above", int(steps[high[0]]))
    # where it lost what it had gained
    lowest = int(np.argmin(levels))
    gained, lost = start - levels[lowest], levels[-1] - levels[lowest]
    clear = limits.CLEARLY * math.hypot(errors[-1], errors[lowest])
    if lost > max(limits.LOST_AGAIN * gained, limits.ENDS_ABOVE * scale, clear):
        return Ruling("unstable", "lost_again", int(steps[min(lowest + 1, len(steps) - 1)]))
    return None


def _thrown(case: Case, now: Levels) -> Ruling | None:
    """Single steps far above the start, of which the run never really recovered.

    Far too high a rate throws the weights away in its first steps, and what follows is learnt from scratch.
    """
    thrown, levels = case.thrown, now.windows
    if len(thrown) < (1 if case.setting.wild_rate else limits.THROWN):
        return None
    if levels[-1] < limits.MADE_GOOD * now.start:
        return None
    middle = float(np.interp(case.curves.step / 2, case.window_steps, levels))
    if middle - levels[-1] > limits.MAKES_GOOD * now.start and levels[-1] < now.start:
        return None
    return Ruling("unstable", "thrown", int(thrown[0]))


def _wandering(case: Case, now: Levels) -> Ruling | None:
    """Up and down again and again: single steps that jump, or levels that do not settle."""
    levels, errors, steps = now.windows, case.window_errors, case.window_steps
    rises = np.diff(levels)
    clear = rises > limits.CLEARLY * np.hypot(errors[1:], errors[:-1])
    spread = max(float(levels.max()), now.start) - float(levels.min())
    if (
        rises[clear].sum() > max(limits.WANDERS * spread, limits.ABOVE_START * case.scale)
        and clear.sum() >= 3
    ):
        return Ruling("unstable", "wanders", int(steps[int(np.argmax(clear)) + 1]))
    jumps = case.jumps
    if len(jumps) >= limits.JUMPS and jumps[-1] - jumps[0] > case.curves.step / 2:
        return Ruling("unstable", "jumps", int(jumps[0]))
    return None


def held_wandering(case: Case, now: Levels) -> Ruling | None:
    """Held-out rows clearly worse and clearly better by turns: no overfitting comes and goes."""
    held, curves = now.held, case.curves
    if len(held) < 5:
        return None
    moves = np.diff(held)
    clear = np.abs(moves) > np.maximum(limits.SURE * case.move_errors, limits.TURNS_BY * case.scale)
    signs = np.sign(moves[clear])
    turns = np.flatnonzero((signs[:-1] > 0) & (signs[1:] < 0))
    if len(turns) < limits.TURNS or held[-1] < limits.MADE_GOOD * held[0]:
        return None
    return Ruling("unstable", "held_wanders", int(curves.held.steps[np.flatnonzero(clear)[turns[0]] + 1]))
