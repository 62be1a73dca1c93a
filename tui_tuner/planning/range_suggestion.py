"""Evaluation of a learning-rate range test: loss against growing rates, and the rate it suggests.

The test is that of Smith (arXiv 1506.01186): train a little while the rate grows from step to step, and look
where the loss falls, and where it rises again. The suggestion is the smaller one of the rate where the loss
falls steepest and a tenth of the rate where it is lowest (Howard and Gugger, arXiv 2002.04688).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import N_, _
from tui_tuner.planning.learning_rate import find_customary_rate

DECADES = 1000.0  # by default, how far below and above the customary rate a test goes
HIGHEST = 10.0
SOURCE = N_("Smith (arXiv 1506.01186); the choice on the curve: Howard and Gugger (arXiv 2002.04688)")
WORSE = 2.0  # times the lowest smoothed loss at which the test ends: it only gets worse
FEWEST = 10  # points a suggestion rests on
CLEAR = 6.0  # standard errors the loss has to fall: the range of pure noise over as many places is near 4
LEAST_FALL = 0.01  # share of the loss it has to fall


@dataclass(frozen=True)
class Suggestion:
    """The suggested rate with its two sources; if the curve shows none, all None with a reason in `why`."""

    rate: float | None
    steepest: float | None
    tenth_of_lowest: float | None
    why: str


@dataclass(frozen=True)
class RangeTest:
    """Rates, the loss a step had before it was taken at that rate, and the same loss smoothed."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    suggestion: Suggestion
    ended: str

    def to_json(self) -> dict[str, Any]:
        """Return the curve and the suggestion as JSON."""
        found = self.suggestion
        return {
            "suggested": found.rate,
            "steepest": found.steepest,
            "tenth_of_lowest": found.tenth_of_lowest,
            "why": found.why,
            "source": SOURCE,
            "ended": self.ended,
            "points": [
                {"rate": rate, "loss": loss, "smooth": smooth}
                for rate, loss, smooth in zip(self.rates, self.losses, self.smooth, strict=True)
            ],
        }


def choose_range_bounds(config: RunConfig) -> tuple[float, float]:
    """Return the first and the last rate of a test for which none were given."""
    usual = find_customary_rate(config).rate
    return usual / DECADES, min(HIGHEST, usual * DECADES)


def space_range_rates(low: float, high: float, steps: int) -> list[float]:
    """Return `steps` rates from `low` to `high`, each the same factor above the one before."""
    if not (0 < low < high and math.isfinite(high)) or steps < 2:
        raise ValueError("a range test needs 0 < low < high and two steps")
    return [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]


def evaluate_range_curve(rates: Sequence[float], losses: Sequence[float], ended: str = "") -> RangeTest:
    """Smooth a curve and read the suggestion off it."""
    smooth = smooth_range_curve(losses)
    return RangeTest(
        tuple(rates), tuple(losses), tuple(smooth), suggest_learning_rate(rates, losses, smooth), ended
    )


def smooth_range_curve(losses: Sequence[float]) -> list[float]:
    """Average over the neighbours on both sides with Gaussian weights.

    Its width is a fortieth of the steps, at least one and a half.
    """
    # Averaged over both sides: a one-sided average lags behind, and would suggest too high a rate
    width = max(1.5, len(losses) / 40)
    reach = math.ceil(3 * width)
    found = []
    for place in range(len(losses)):
        near = range(max(0, place - reach), min(len(losses), place + reach + 1))
        weights = [math.exp(-0.5 * ((other - place) / width) ** 2) for other in near]
        total = sum(weight * losses[other] for weight, other in zip(weights, near, strict=True))
        found.append(total / sum(weights))
    return found


def suggest_learning_rate(
    rates: Sequence[float], losses: Sequence[float], smooth: Sequence[float]
) -> Suggestion:
    """Find the rate that a curve suggests, or why it suggests none."""
    if len(rates) < FEWEST:
        return Suggestion(
            None,
            None,
            None,
            _("only {rates} steps; at least {fewest} are needed", rates=len(rates), fewest=FEWEST),
        )
    lowest = min(range(len(smooth)), key=smooth.__getitem__)
    # The fall counts from the highest point before the minimum, as the loss may rise at first
    highest = max(range(lowest + 1), key=smooth.__getitem__)
    fall = smooth[highest] - smooth[lowest]
    noise = _estimate_noise(losses, smooth)
    # A minimum at the very beginning means that even the lowest rates were too high, or noise
    if lowest < 2 or fall < max(CLEAR * noise, LEAST_FALL * abs(smooth[highest])):
        return Suggestion(
            None,
            None,
            None,
            _(
                "the loss fell by {fall:.3g}, no more than its noise: try more steps or other bounds",
                fall=max(fall, 0),
            ),
        )
    slopes = {
        place: (smooth[place + 1] - smooth[place - 1]) / math.log(rates[place + 1] / rates[place - 1])
        for place in range(1, lowest)
    }
    steepest = rates[min(slopes, key=slopes.__getitem__)]
    tenth = rates[lowest] / 10
    why = _explain_choice(steepest <= tenth, lowest >= len(rates) - 2)
    return Suggestion(min(steepest, tenth), steepest, tenth, why)


def _explain_choice(steepest: bool, falling: bool) -> str:
    """Describe where on the curve the rate is, and whether the loss was still falling at the end."""
    if steepest and falling:
        return _(
            "where the loss falls steepest; the loss was still falling at the end, so a higher rate may work"
        )
    if steepest:
        return _("where the loss falls steepest")
    if falling:
        return _(
            "a tenth of where the loss is lowest; the loss was still falling at the end, so a higher "
            "rate may work"
        )
    return _("a tenth of where the loss is lowest")


def _estimate_noise(losses: Sequence[float], smooth: Sequence[float]) -> float:
    """Estimate the standard error of a smoothed loss: spread before the minimum, by the points averaged."""
    lowest = max(FEWEST, min(range(len(smooth)), key=smooth.__getitem__))
    rest = [losses[place] - smooth[place] for place in range(min(lowest, len(smooth)))]
    spread = math.sqrt(sum(value * value for value in rest) / len(rest))
    # A Gaussian of width w averages as many independent points as a window of 2 * sqrt(pi) * w
    averaged = max(1.5, len(losses) / 40) * 2 * math.sqrt(math.pi)
    return spread / math.sqrt(averaged)


def plot_range_curve(test: RangeTest, width: int = 72, height: int = 14) -> list[str]:
    """Plot loss against rate as text: `·` a step's loss, `●` the smoothed one, `│` the suggested rate."""
    low, high = math.log10(test.rates[0]), math.log10(test.rates[-1])
    # Without the divergent end, which would flatten everything before it into one line
    top = max(test.smooth[0], *test.smooth[: max(2, len(test.smooth) * 3 // 4)]) * 1.05
    bottom = min(min(test.smooth), *test.losses)
    inner = width - 9
    grid = [[" "] * inner for _unused in range(height)]

    def put(rate: float, loss: float, sign: str) -> None:
        column = round((math.log10(rate) - low) / (high - low or 1) * (inner - 1))
        line = round((top - min(loss, top)) / (top - bottom or 1) * (height - 1))
        grid[line][column] = sign

    if test.suggestion.rate is not None and test.rates[0] <= test.suggestion.rate <= test.rates[-1]:
        for line in range(height):
            put(test.suggestion.rate, top - (top - bottom) * line / (height - 1), "│")
    for sign, values in (("·", test.losses), ("●", test.smooth)):
        for rate, loss in zip(test.rates, values, strict=True):
            put(rate, loss, sign)
    lines = []
    for index, row in enumerate(grid):
        value = top - (top - bottom) * index / (height - 1)
        label = f"{value:8.3g}" if index in (0, height // 2, height - 1) else " " * 8
        lines.append(f"{label} " + "".join(row).rstrip())
    ends = [f"{test.rates[0]:.0e}", f"{10 ** ((low + high) / 2):.0e}", f"{test.rates[-1]:.0e}"]
    gap = inner - sum(map(len, ends))
    lines.append(" " * 9 + ends[0] + " " * (gap // 2) + ends[1] + " " * (gap - gap // 2) + ends[2])
    return lines
