"""Looking at losses and gradient norms that are finite and still not right: spikes, explosions, zeros.

It sees numbers only after they were read from the device for the journal, so it costs the step nothing.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

from tui_tuner.config.advice import advise, setting
from tui_tuner.locales import N_, Sentence, _

WINDOW = 50  # steps that tell what is usual
_LEAST = 20  # steps before anything is called unusual
_SPIKE = 8.0  # robust standard deviations above the median
_SPIKE_RATIO = 6.0  # the same of the logarithms
_SPIKE_SHARE = 1.5  # and at least so many times the median
_BACK = 1 / 3  # and at least so much of the way back to the loss at the start
_LEARNT, _WORSE = 0.1, 2.0  # shares of that loss: below the one, a jump counts that is above the other
_OFTEN = 3  # spikes, that many steps apart, that are said to come again and again
_APART = 5
_EXPLOSION = 50.0  # times the median norm
_CLIPPED = 3  # such norms in a window: one that is clipped changes little
_CALMER = 3  # times smaller is the rate that a hint names
_ZEROS = 3  # steps in a row with no gradient at all
_MAD = 1.4826  # median absolute deviation of a normal distribution, as a standard deviation


@dataclass(frozen=True)
class Finding:
    """Something unusual at a step. `code`: diverged, plateau, loss_spike, loss_spikes, gradient_explosion or
    zero_gradients."""

    code: str
    message: str
    hint: str


class NumberWatch:
    """Fed with each step in order; says what is unusual, each thing once in a run.

    Args:
        told: The codes that were said; it is added to.
        peak: `training.learning_rate` of the run; 0 where it is not known.
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

    def feed(
        self, step: int, loss: float | None, norm: float | None, rate: float | None = None
    ) -> list[Finding]:
        """Finite numbers only; None where a step has none."""
        rate = self._peak if rate is None else rate
        found = []
        if norm is not None:
            found.append(self._zero(step, norm))
            found.append(self._explosion(step, norm, rate))
            self._norms.append(norm)
        if loss is not None:
            found.append(self._spike(step, loss, rate))
            self._losses.append(loss)
            self._first += [loss] if len(self._first) < _LEAST // 2 else []
        return [finding for finding in found if finding is not None and is_news(self._told, finding.code)]

    def _spike(self, step: int, loss: float, rate: float) -> Finding | None:
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
            return None  # a row that is harder than others, where nearly all is learnt
        if self._spikes and step - self._spikes[-1] < _APART:
            return None  # the same one
        self._spikes.append(step)
        said = {"loss": loss, "step": step, "usual": usual, "rate": rate}
        if len(self._spikes) < _OFTEN:
            message = _(
                "The loss jumped to {loss:.4g} at step {step}; {usual:.4g} was usual. The learning rate is "
                "{rate:.3g}.",
                **said,
            )
            return Finding("loss_spike", message, self._lower(N_("If it does not come down again: {lower}.")))
        message = _(
            "The loss jumps again and again: {count} times since step {since}, now to {loss:.4g} at step "
            "{step}. The learning rate is {rate:.3g}.",
            count=len(self._spikes),
            since=self._spikes[0],
            **said,
        )
        return Finding("loss_spikes", message, self._lower(N_("A smaller rate is calmer: {lower}.")))

    def _far_by_ratio(self, loss: float, usual: float) -> bool:
        """Whether it stands out among ratios, too: losses of few rows are often many times the usual one."""
        if usual <= 0:
            return True
        ratios = statistics.median(abs(math.log(value / usual)) for value in self._losses if value > 0)
        return math.log(loss / usual) > _SPIKE_RATIO * _MAD * ratios

    def _lower(self, sentence: str) -> str:
        """A hint that names a smaller rate."""
        if not self._peak:
            return _("Lower training.learning_rate.")
        rate = setting({"training.learning_rate": smaller_rate(self._peak, _CALMER)})
        return advise(Sentence(sentence, {"lower": rate}))

    def _explosion(self, step: int, norm: float, rate: float) -> Finding | None:
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
            return None  # one row among others that are learnt, whose norms are next to nothing
        self._explosions = [one for one in self._explosions if step - one < WINDOW] + [step]
        if self._clipped and len(self._explosions) < _CLIPPED:
            return None
        message = _(
            "The gradient norm was {norm:.4g} at step {step}; {usual:.4g} was usual. The learning rate is "
            "{rate:.3g}.",
            norm=norm,
            step=step,
            usual=usual,
            rate=rate,
        )
        if self._clipped:
            hint = self._lower(N_("It is clipped. If it stays, look at the rows, or train with {lower}."))
        else:
            hint = self._lower(
                N_("training.max_grad_norm clips it. If it stays, look at the rows, or train with {lower}.")
            )
        return Finding("gradient_explosion", message, hint)

    def _zero(self, step: int, norm: float) -> Finding | None:
        self._zeros = self._zeros + 1 if norm == 0.0 else 0
        if self._zeros < _ZEROS:
            return None
        message = _(
            "The gradient has been zero for {zeros} steps at step {step}: nothing is learnt.",
            zeros=self._zeros,
            step=step,
        )
        return Finding(
            "zero_gradients", message, _("Are there trained tokens in the rows? Is anything trained?")
        )


def is_news(told: list[str], code: str) -> bool:
    """Whether a thing was not said before; from now on it was."""
    if code in told:
        return False
    told.append(code)
    return True


def smaller_rate(rate: float, by: float) -> float:
    """A rate that is so many times smaller, in one figure: 3e-05."""
    return float(f"{rate / by:.0e}") if rate > 0 else 0.0
