"""Watch losses and gradient norms that are finite but not right: spikes, explosions, zeros.

The watch gets numbers only after they were read from the device for the journal, so it costs a step nothing.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.locales import N_, Sentence, _

WINDOW = 50  # steps that show what is usual
_LEAST = 20  # steps before anything is called unusual
# A loss is a spike if it is above all of these: robust standard deviations above the median, the same of the
# logarithms, times the median, and share of the way back to the loss at the start.
_SPIKE = 8.0
_SPIKE_RATIO = 6.0
_SPIKE_SHARE = 1.5
_BACK = 1 / 3
# Shares of the loss at the start: if the usual loss is below the first, only a jump above the second counts.
_LEARNT, _WORSE = 0.1, 2.0
_OFTEN = 3  # spikes, at least _APART steps from each other, that are reported as repeated
_APART = 5
_EXPLOSION = 50.0  # times the median norm
_CLIPPED = 3  # such norms in a window that are reported if norms are clipped: one alone changes little
_CALMER = 3  # a hint suggests a rate that is so many times lower
_ZEROS = 3  # steps in a row without any gradient
_MAD = 1.4826  # median absolute deviation of a normal distribution, as a standard deviation


@dataclass(frozen=True)
class Finding:
    """Something unusual at a step.

    Args:
        code: diverged, plateau, loss_spike, loss_spikes, gradient_explosion or zero_gradients.
    """

    code: str
    message: str
    hint: str


class NumberWatch:
    """Takes in each step in order; reports what is unusual, each kind once in a run.

    Args:
        told: The codes reported so far; new ones are added.
        peak: `training.learning_rate` of the run; 0 if it is not known.
        clipped: Norms are clipped.
    """

    def __init__(self, told: list[str] | None = None, peak: float = 0.0, clipped: bool = False) -> None:
        self._told = [] if told is None else told
        self._peak, self._clipped = peak, clipped
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._first: list[float] = []
        self._zeros = 0
        self._spikes: list[int] = []
        self._explosions: list[int] = []

    def feed_numbers(
        self, step: int, loss: float | None, norm: float | None, rate: float | None = None
    ) -> list[Finding]:
        """Take in a step's finite numbers, None for others; return the new findings."""
        rate = self._peak if rate is None else rate
        found = []
        if norm is not None:
            found.append(self._find_zero(step, norm))
            found.append(self._find_explosion(step, norm, rate))
            # Added last, so that a number is compared with those before it only.
            self._norms.append(norm)
        if loss is not None:
            found.append(self._find_spike(step, loss, rate))
            self._losses.append(loss)
            self._first += [loss] if len(self._first) < _LEAST // 2 else []
        return [finding for finding in found if finding is not None and is_new_code(self._told, finding.code)]

    def _find_spike(self, step: int, loss: float, rate: float) -> Finding | None:
        if len(self._losses) < _LEAST:
            return None
        usual = statistics.median(self._losses)
        spread = _MAD * statistics.median(abs(value - usual) for value in self._losses)
        if (
            loss <= usual + _SPIKE * spread
            or loss <= _SPIKE_SHARE * usual
            or not self._far_by_ratio(loss, usual)
        ):
            return None
        first = statistics.median(self._first)
        if loss - usual <= _BACK * (first - usual) or (usual < _LEARNT * first and loss < _WORSE * first):
            # One row that is harder than the others, when nearly everything is learned.
            return None
        if self._spikes and step - self._spikes[-1] < _APART:
            return None  # still the same spike
        self._spikes.append(step)
        said = {"loss": loss, "step": step, "usual": usual, "rate": rate}
        if len(self._spikes) < _OFTEN:
            message = _(
                "The loss jumped to {loss:.4g} at step {step}; it was usually {usual:.4g}. The learning rate "
                "is {rate:.3g}.",
                **said,
            )
            return Finding(
                "loss_spike", message, self._advise_lower(N_("If it does not come down again: {lower}."))
            )
        message = _(
            "The loss keeps jumping: {count} times since step {since}, now to {loss:.4g} at step {step}. The "
            "learning rate is {rate:.3g}.",
            count=len(self._spikes),
            since=self._spikes[0],
            **said,
        )
        return Finding(
            "loss_spikes", message, self._advise_lower(N_("A lower rate is more stable: {lower}."))
        )

    def _far_by_ratio(self, loss: float, usual: float) -> bool:
        """Return whether a loss stands out among ratios to the usual one as well."""
        if usual <= 0:
            return True
        # Losses of few rows often differ by factors, for which differences alone are no measure.
        ratios = statistics.median(abs(math.log(value / usual)) for value in self._losses if value > 0)
        return math.log(loss / usual) > _SPIKE_RATIO * _MAD * ratios

    def _advise_lower(self, sentence: str) -> str:
        """Return a hint to lower the rate; `sentence` has the place {lower}."""
        if not self._peak:
            return _("Lower training.learning_rate.")
        rate = write_setting({"training.learning_rate": lower_learning_rate(self._peak, _CALMER)})
        return build_hint(Sentence(sentence, {"lower": rate}))

    def _find_explosion(self, step: int, norm: float, rate: float) -> Finding | None:
        if len(self._norms) < _LEAST:
            return None
        usual = statistics.median(self._norms)
        if norm <= _EXPLOSION * usual or usual == 0:
            return None
        if (
            self._clipped
            and self._losses
            and statistics.median(self._losses) < _LEARNT * statistics.median(self._first)
        ):
            # One row among others that are learned, whose norms are close to zero.
            return None
        self._explosions = [one for one in self._explosions if step - one < WINDOW] + [step]
        if self._clipped and len(self._explosions) < _CLIPPED:
            return None
        message = _(
            "The gradient norm was {norm:.4g} at step {step}; it was usually {usual:.4g}. The learning rate "
            "is {rate:.3g}.",
            norm=norm,
            step=step,
            usual=usual,
            rate=rate,
        )
        if self._clipped:
            hint = self._advise_lower(
                N_("It is clipped. If it stays high, check rows, or train with {lower}.")
            )
        else:
            hint = self._advise_lower(
                N_("training.max_grad_norm clips it. If it stays high, check rows, or train with {lower}.")
            )
        return Finding("gradient_explosion", message, hint)

    def _find_zero(self, step: int, norm: float) -> Finding | None:
        self._zeros = self._zeros + 1 if norm == 0.0 else 0
        if self._zeros < _ZEROS:
            return None
        message = _(
            "The gradient has been zero for {zeros} steps, up to step {step}: the model learns nothing.",
            zeros=self._zeros,
            step=step,
        )
        return Finding(
            "zero_gradients", message, _("Check that rows have trained tokens and that weights are trained.")
        )


def is_new_code(told: list[str], code: str) -> bool:
    """Return whether a code was not reported yet, and add it to those that were."""
    if code in told:
        return False
    told.append(code)
    return True


def lower_learning_rate(rate: float, by: float) -> float:
    """Return a rate that is `by` times lower, rounded to one digit, such as 3e-05."""
    return float(f"{rate / by:.0e}") if rate > 0 else 0.0
