"""What the rules are asked about: the numbers of one draw, and what does not change from draw to draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tui_tuner.verdicts import limits
from tui_tuner.verdicts.curves import MAD, Curves, Floats, noise_of
from tui_tuner.verdicts.limits import FEWEST_STEPS
from tui_tuner.verdicts.scores import Scores


@dataclass(frozen=True)
class Setting:
    """What a verdict has to know of a run beside its curves.

    Args:
        copies, counted_copies: Share and number of the held-out rows that are trained on.
        repeated: Share of the training rows whose texts are trained more than once.
        held_out: Held-out rows; 0 where nobody knows.
        rate: The peak rate; None where it is unknown.
        usual: The usual rate; None likewise.
        highest: The highest that is usual; None likewise.
        few_weights: Whether its method trains next to no weights.
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
        """Whether the rate is far below those that are usual."""
        return bool(self.rate and self.usual and self.rate < limits.LOW_RATE * self.usual)

    @property
    def wild_rate(self) -> bool:
        """Whether it is above what even the smallest models bear."""
        return bool(self.rate and self.highest and self.rate > limits.WILD_RATE * self.highest)


@dataclass(frozen=True)
class Ruling:
    """A word, since when, and why: a code that `telling` has a sentence for."""

    word: str
    why: str
    since: int | None = None


@dataclass(frozen=True)
class Levels:
    """The numbers of one draw: the held-out losses, the levels of training, and the windows of its steps."""

    held: Floats
    training: Floats
    start: float
    windows: Floats


@dataclass(frozen=True)
class Case:
    """Curves with what does not change from draw to draw."""

    curves: Curves
    scores: Scores
    setting: Setting
    window_steps: np.ndarray
    window_errors: Floats
    held_errors: Floats  # [evaluations, evaluations] of the differences, by the rows and by what they wobble
    wobble: float = 0.0  # standard deviation of a single evaluation about a smooth curve

    @cached_property
    def jumps(self) -> np.ndarray:
        """The steps whose loss jumped far above what was usual around them."""
        return jumps_of(self.curves)

    @cached_property
    def thrown(self) -> np.ndarray:
        """The steps far above the start; clearly above it where the rate alone would tell why."""
        return thrown_of(self.curves, limits.ENDS_ABOVE if self.setting.wild_rate else limits.ABOVE_START)

    @cached_property
    def rise_errors(self) -> Floats:
        """Standard errors of what held-out rows are above their start, of the rows alone: it may wobble."""
        draws = self.curves.held.draws
        return np.std(draws - draws[:, :1], axis=0)

    @cached_property
    def move_errors(self) -> Floats:
        """The same of each evaluation against the one before."""
        return np.std(np.diff(self.curves.held.draws, axis=1), axis=0)

    @cached_property
    def ends(self) -> tuple[float, float]:
        """What the single steps of training fell by from their first third to their last; standard error."""
        losses = self.curves.losses
        third = len(losses) // 3
        first, last = losses[:third], losses[-third:]
        fell = float(np.median(first) - last.mean())  # the median: early steps may be thrown far up
        return fell, math.hypot(float(first.std()), float(last.std())) / math.sqrt(third)

    @cached_property
    def scale(self) -> float:
        """What losses are shares of: that of the start."""
        held = self.curves.held.losses
        start = abs(self.curves.training.start)
        known = start if math.isfinite(start) and start > 0 else 0.0
        return max(known, abs(float(held[0])) if len(held) else 0.0, 1e-12)


def thrown_of(curves: Curves, share: float) -> np.ndarray:
    """The steps whose loss is so high a share above the start, and by more than batches differ later on."""
    losses, held = curves.losses, curves.held.losses
    if len(losses) < 2 * FEWEST_STEPS or not curves.training.start > 0:
        return curves.steps[:0]
    later = losses[len(losses) // 2 :]
    spread = noise_of(later) / max(float(np.median(later)), limits.NOTHING * curves.training.start)
    least = max(share, limits.CLEARLY * spread)
    # The first step is measured before anything was changed, as is the first evaluation
    start = max(curves.training.start, float(losses[0]), float(held[0]) if len(held) else 0.0)
    return curves.steps[losses > (1 + least) * start]


def jumps_of(curves: Curves) -> np.ndarray:
    """The steps whose loss jumped far above what was usual around them, and was still there at the next."""
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
    # A hard batch is over with its step; weights that were thrown off are still off at the next one
    places = np.array(found, dtype=np.int64)
    pairs = places[:-1][np.diff(places) == 1]
    return steps[pairs] if len(pairs) > 3 * len(places) ** 2 / count else steps[:0]
