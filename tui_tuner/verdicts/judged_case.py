"""The input of the rules: the numbers of one draw, and everything that is the same in all draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tui_tuner.verdicts import limits
from tui_tuner.verdicts.curves import MAD, Curves, Floats, estimate_curve_noise
from tui_tuner.verdicts.limits import FEWEST_STEPS
from tui_tuner.verdicts.scores import Scores


@dataclass(frozen=True)
class Setting:
    """Facts about a run that a verdict needs in addition to its curves.

    Args:
        copies, counted_copies: Share and number of the held-out rows that are also trained on.
        repeated: Share of the training rows whose texts occur more than once.
        held_out: Number of held-out rows; 0 if unknown.
        rate: The peak learning rate; None if unknown.
        usual: The usual learning rate; None if unknown.
        highest: The highest usual learning rate; None if unknown.
        few_weights: The method trains very few weights.
    """

    copies: float = 0.0
    counted_copies: int = 0
    repeated: float = 0.0
    held_out: int = 0
    rate: float | None = None
    usual: float | None = None
    highest: float | None = None
    few_weights: bool = False

    @property
    def low_rate(self) -> bool:
        """Return whether the learning rate is far below the usual ones."""
        return bool(self.rate and self.usual and self.rate < limits.LOW_RATE * self.usual)

    @property
    def wild_rate(self) -> bool:
        """Return whether the learning rate is above what even the smallest models tolerate."""
        return bool(self.rate and self.highest and self.rate > limits.WILD_RATE * self.highest)


@dataclass(frozen=True)
class Ruling:
    """A verdict's name, since which step it holds, and why: a code that `evidence` has a sentence for."""

    word: str
    why: str
    since: int | None = None


@dataclass(frozen=True)
class Levels:
    """The numbers of one draw: held-out losses, training levels and their start, and windows of steps."""

    held: Floats
    training: Floats
    start: float
    windows: Floats


@dataclass(frozen=True)
class Case:
    """The curves of a run with everything that is the same in all draws.

    Args:
        held_errors: [evaluations, evaluations] standard errors of differences, from the rows and the noise.
        wobble: Standard deviation of a single evaluation about a smooth curve.
    """

    curves: Curves
    scores: Scores
    setting: Setting
    window_steps: np.ndarray
    window_errors: Floats
    held_errors: Floats
    wobble: float = 0.0

    @cached_property
    def jump_steps(self) -> np.ndarray:
        """Return the steps whose loss jumped far above the level around them."""
        return find_jump_steps(self.curves)

    @cached_property
    def thrown_steps(self) -> np.ndarray:
        """Return the steps whose loss is far above the start; clearly above it is enough at a wild rate."""
        return find_thrown_steps(
            self.curves, limits.ENDS_ABOVE if self.setting.wild_rate else limits.ABOVE_START
        )

    @cached_property
    def rise_errors(self) -> Floats:
        """Return the standard errors of held-out losses minus their start, from the rows alone."""
        # Without the curve's own noise: a curve that falls apart is noisy, which must not excuse its rise
        draws = self.curves.held.draws
        return np.std(draws - draws[:, :1], axis=0)

    @cached_property
    def move_errors(self) -> Floats:
        """Return the standard errors of the differences between neighbouring evaluations, from the rows."""
        return np.std(np.diff(self.curves.held.draws, axis=1), axis=0)

    @cached_property
    def end_fall(self) -> tuple[float, float]:
        """Return by how much the loss of single steps fell from their first third to their last, and the
        standard error of that.
        """
        losses = self.curves.losses
        third = len(losses) // 3
        first, last = losses[:third], losses[-third:]
        # A median, because single early steps may be far up
        fell = float(np.median(first) - last.mean())
        return fell, math.hypot(float(first.std()), float(last.std())) / math.sqrt(third)

    @cached_property
    def start_scale(self) -> float:
        """Return the loss at the start, which thresholds called shares refer to; above 0."""
        held = self.curves.held.losses
        start = abs(self.curves.training.start)
        known = start if math.isfinite(start) and start > 0 else 0.0
        return max(known, abs(float(held[0])) if len(held) else 0.0, 1e-12)


def find_thrown_steps(curves: Curves, share: float) -> np.ndarray:
    """Return the steps whose loss is above the start by `share` of it, and by more than batches differ."""
    losses, held = curves.losses, curves.held.losses
    if len(losses) < 2 * FEWEST_STEPS or not curves.training.start > 0:
        return curves.steps[:0]
    # How much batches differ is measured in the second half, since the steps in question are early ones
    later = losses[len(losses) // 2 :]
    spread = estimate_curve_noise(later) / max(
        float(np.median(later)), limits.NOTHING * curves.training.start
    )
    least = max(share, limits.CLEARLY * spread)
    # The losses of the first step and the first evaluation are measured before any update
    start = max(curves.training.start, float(losses[0]), float(held[0]) if len(held) else 0.0)
    return curves.steps[losses > (1 + least) * start]


def find_jump_steps(curves: Curves) -> np.ndarray:
    """Return the steps whose loss jumped far above the level around them and stayed there for one more."""
    losses, steps = curves.losses, curves.steps
    count = len(losses)
    if count < 20:
        return steps[:0]
    found: list[int] = []
    for part in np.array_split(np.arange(count), max(1, count // 50)):
        usual = float(np.median(losses[part]))
        spread = MAD * float(np.median(np.abs(losses[part] - usual)))
        over = losses[part] - usual
        least = max(limits.JUMP_SHARE * abs(usual), limits.ABOVE_START * abs(curves.training.start))
        found += part[(over > limits.JUMP * spread) & (over > least)].tolist()
    # A hard batch is over after its step, whereas damaged weights are still damaged at the next one
    places = np.array(found, dtype=np.int64)
    # Of randomly placed jumps, about len(places) ** 2 / count would follow each other by chance
    pairs = places[:-1][np.diff(places) == 1]
    return steps[pairs] if len(pairs) > 3 * len(places) ** 2 / count else steps[:0]
