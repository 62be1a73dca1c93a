"""Looking at losses and gradient norms that are finite and still not right: spikes, explosions, zeros.

It sees numbers only after they were read from the device for the journal, so it costs the step nothing.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass

from tui_tuner.locales import _

WINDOW = 50  # steps that tell what is usual
_LEAST = 20  # steps before anything is called unusual
_QUIET = 50  # steps before the same is said again
_SPIKE = 8.0  # robust standard deviations above the median
_SPIKE_SHARE = 1.5  # and at least so many times the median
_EXPLOSION = 50.0  # times the median norm
_ZEROS = 3  # steps in a row with no gradient at all
_MAD = 1.4826  # median absolute deviation of a normal distribution, as a standard deviation


@dataclass(frozen=True)
class Finding:
    """Something unusual at a step. `code`: loss_spike, gradient_explosion or zero_gradients."""

    code: str
    message: str
    hint: str


class NumberWatch:
    """Fed with each step in order; says what is unusual, each thing at most once in 50 steps."""

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._zeros = 0
        self._said: dict[str, int] = {}

    def feed(self, step: int, loss: float | None, norm: float | None) -> list[Finding]:
        """Finite numbers only; None where a step has none."""
        found = []
        if norm is not None:
            found.append(self._zero(step, norm))
            found.append(self._explosion(step, norm))
            self._norms.append(norm)
        if loss is not None:
            found.append(self._spike(step, loss))
            self._losses.append(loss)
        return [finding for finding in found if finding is not None and self._news(finding.code, step)]

    def _news(self, code: str, step: int) -> bool:
        last = self._said.get(code)
        if last is not None and 0 <= step - last < _QUIET:
            return False
        self._said[code] = step
        return True

    def _spike(self, step: int, loss: float) -> Finding | None:
        if len(self._losses) < _LEAST:
            return None
        usual = statistics.median(self._losses)
        spread = _MAD * statistics.median(abs(value - usual) for value in self._losses)
        if loss <= usual + _SPIKE * spread or loss <= _SPIKE_SHARE * usual:
            return None
        message = _(
            "The loss jumped to {loss:.4g} at step {step}; {usual:.4g} was usual.",
            loss=loss,
            step=step,
            usual=usual,
        )
        return Finding(
            "loss_spike", message, _("If it does not come down again, lower training.learning_rate.")
        )

    def _explosion(self, step: int, norm: float) -> Finding | None:
        if len(self._norms) < _LEAST:
            return None
        usual = statistics.median(self._norms)
        if norm <= _EXPLOSION * usual or usual == 0:
            return None
        message = _(
            "The gradient norm was {norm:.4g} at step {step}; {usual:.4g} was usual.",
            norm=norm,
            step=step,
            usual=usual,
        )
        hint = _(
            "training.max_grad_norm clips it. If it stays, lower training.learning_rate or look at the rows."
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
