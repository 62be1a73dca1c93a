"""Looking at the loss over many steps: it diverges, or it no longer falls while the rate is still high.

It sees numbers only after they were read from the device for the journal. What it has seen and said is kept
with the run's progress, so that a resumed run goes on from there and does not say it again.

Losses of single batches are noisy, and how noisy differs from run to run. So stretches of steps are compared,
by figures that need no scale: nearly all values of one have to lie above nearly all of the other.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

from tui_tuner.config.advice import advise, setting
from tui_tuner.locales import N_, _
from tui_tuner.training.watching.numbers import Finding, is_news, smaller_rate

FEWEST, MOST = 8, 50  # steps of a stretch; a twentieth of the run between them
SEVERAL = 12  # steps from which on single values of a stretch may lie elsewhere
HIGHER, SURELY = 1.5, 1.2  # times the loss at the start that tell of divergence, by median and by all values
MUCH = 3.0  # the same where nothing but the first batch tells how high the loss was
LOST = 0.5  # share of what was learnt before that is lost again
AWAY = 0.25  # and at least this share of the loss at the start

RATE_ADVICE = "advice_learning_rate"  # what was said, if anything, of the rate before the first step
BLOCKS = 64  # stretches that a whole run is kept in
SHARE, LEAST = 0.25, 48  # of the steps, and steps, without progress that make a plateau
STILL_HIGH = 0.5  # of the highest rate so far
SLIGHT = 0.03  # share of the loss by which a plateau may have fallen at the very most
ALL_LEARNT = 0.05  # of the loss at the start: below, there is nothing left to learn
CERTAIN = 4.0  # standard errors: many stretches are looked at

_KEPT: dict[str, Any] = {"first": None, "held_out": [], "best": None, "blocks": [], "top": 0.0, "early": []}


class Kept(Protocol):
    """What outlives the process (`training.keeping.progress.Progress`)."""

    watched: dict[str, Any]
    told: list[str]


class CurveWatch:
    """Fed with each step in order, and with what held-out rows have; says each thing once in a run.

    Args:
        progress: Where what was seen and said is kept, `watched` and `told`.
        total: Steps of the run.
        peak: `training.learning_rate` of the run.
        lowest: The lowest rate that is usual for such a run; 0 where that is not known.
        usual: The rate that the plan names where it warns of another; 0 where that is not known.
    """

    def __init__(
        self, progress: Kept, total: int, peak: float, lowest: float = 0.0, usual: float = 0.0
    ) -> None:
        self._progress, self._total, self._peak, self._lowest = progress, total, peak, lowest
        self._usual = usual
        self._steps = min(MOST, max(FEWEST, total // 20))
        self._outside = 0 if self._steps < SEVERAL else self._steps // 8
        self._recent: deque[tuple[int, float]] = deque(maxlen=self._steps)

    def feed(self, step: int, loss: float | None, rate: float, epoch: float = 0.0) -> list[Finding]:
        """A step with a finite loss; None where it has none."""
        if loss is None or not math.isfinite(loss):
            return []
        kept = self._kept()
        if self._recent and step <= self._recent[-1][0]:
            self._recent.clear()  # the run went back
        kept["first"] = loss if kept["first"] is None else kept["first"]
        kept["top"] = max(kept["top"], rate)
        if len(kept["early"]) < self._steps:
            kept["early"].append([step, loss, rate])
        self._recent.append((step, loss))
        grown = self._add_to_blocks(kept["blocks"], step, loss, rate, epoch)
        found = [self._divergence(kept, step, rate), self._plateau(kept, step, rate) if grown else None]
        return [one for one in found if one is not None and is_news(self._progress.told, one.code)]

    def feed_held_out(self, step: int, loss: float | None) -> None:
        """The loss on held-out rows at a step, 0 before the first."""
        if loss is not None and math.isfinite(loss):
            held_out = self._kept()["held_out"]
            held_out[:] = [one for one in held_out if one[0] < step] + [[step, loss]]

    # ---- divergence ---------------------------------------------------------------------------------------

    def _divergence(self, kept: dict[str, Any], step: int, rate: float) -> Finding | None:
        if len(self._recent) < self._steps or "diverged" in self._progress.told:
            return None
        low, now, high = self._level()
        best = kept["best"]
        held_out = kept["held_out"]
        before = held_out[0][1] if held_out and held_out[0][0] == 0 else None
        start = max(kept["first"], before) if before is not None else kept["first"]
        found = self._excursion(kept, step, start, before is not None)
        if found is None and _above_start(low, now, start, sure=before is not None):
            found = self._diverged(step, now, rate, start, 0)
        elif found is None and best is not None and best["step"] <= step - self._steps and low > best["high"]:
            highest = max(start, best["first"])
            if now - best["loss"] > max(LOST * (highest - best["loss"]), AWAY * abs(highest)):
                found = self._diverged(step, now, rate, best["loss"], best["step"])
        if best is None or now < best["loss"]:
            first = now if best is None else best["first"]
            kept["best"] = {"loss": now, "high": high, "step": step, "first": first}
        return found

    def _excursion(self, kept: dict[str, Any], step: int, start: float, sure: bool) -> Finding | None:
        """A few early steps far above the start, after which the loss came back at once.

        How far is far can be told once there are as many steps behind them, which show the noise.
        """
        early = kept["early"]
        if (
            step != early[0][0] + 2 * self._steps - 1
            or start <= 0
            or min(loss for _n, loss, _r in early) <= 0
        ):
            return None
        later = [math.log(loss) for _step, loss in self._recent if loss > 0]
        if len(later) < 2:
            return None
        # from one step to the next, so that a fall over all of them is no noise
        noise = statistics.median(abs(one - other) for one, other in pairwise(later))
        far = max(math.log(HIGHER if sure else MUCH), 5 * noise)
        for place in range(1, len(early) - 2):
            logs = [math.log(loss) for _step, loss, _rate in early[place : place + 3]]
            if min(logs) > math.log(start) and sum(logs) / 3 - math.log(start) > far:
                at, loss, rate = max(early[place : place + 3], key=lambda one: one[1])
                return self._diverged(int(at), loss, rate, start, 0)
        return None

    def _level(self) -> tuple[float, float, float]:
        """The median of the newest losses, and what nearly all lie above and below."""
        losses = sorted(loss for _step, loss in self._recent)
        return losses[self._outside], statistics.median(losses), losses[-1 - self._outside]

    def _diverged(self, step: int, now: float, rate: float, before: float, at: int) -> Finding:
        said = {"now": now, "before": before, "at": at, "step": step, "rate": rate}
        if at:
            message = _(
                "The loss has diverged: {now:.4g} at step {step}, after {before:.4g} at step {at}. The "
                "learning rate is {rate:.3g}.",
                **said,
            )
        else:
            message = _(
                "The loss has diverged: {now:.4g} at step {step}, and it began with {before:.4g}. The "
                "learning rate is {rate:.3g}.",
                **said,
            )
        lower = setting({"training.learning_rate": self._smaller(min(rate, self._peak), 10)})
        hint = advise(
            N_(
                "The rate is too high: what was learnt before is lost. Stop, and train again with {lower}.",
                lower=lower,
            )
        )
        return Finding("diverged", message, hint)

    # ---- plateau ------------------------------------------------------------------------------------------

    def _add_to_blocks(
        self, blocks: list[list[float]], step: int, loss: float, rate: float, epoch: float
    ) -> bool:
        """Count a step in; whether a block is full."""
        size = max(1, -(-self._total // BLOCKS))
        while blocks and blocks[-1][3] >= step:
            blocks.pop()  # the run went back
        if not blocks or blocks[-1][0] >= size:
            blocks.append([0, 0.0, 0.0, step, step, rate, epoch])
        block = blocks[-1]
        block[0] += 1
        away = loss - block[1]
        block[1] += away / block[0]
        block[2] += away * (loss - block[1])
        block[4], block[5], block[6] = step, min(block[5], rate), epoch
        return block[0] >= size

    def _plateau(self, kept: dict[str, Any], step: int, rate: float) -> Finding | None:
        if "plateau" in self._progress.told or "diverged" in self._progress.told:
            return None
        blocks = kept["blocks"]
        least = max(LEAST, math.ceil(SHARE * self._total), self._steps_of_pass(blocks[-1]))
        start = max(kept["first"], blocks[0][1])
        for begin in range(len(blocks) - 2, -1, -1):
            stretch = blocks[begin:]
            if min(block[5] for block in stretch) < STILL_HIGH * kept["top"]:
                return None  # so are longer ones
            if step - stretch[0][3] + 1 < least:
                continue
            now = self._flat(stretch, start, kept["held_out"])
            if now is not None:
                return self._no_progress(step, rate, int(stretch[0][3]), now)
        return None

    def _steps_of_pass(self, newest: Sequence[float]) -> int:
        """Steps of a pass over the rows, where the run makes several: within one, all rows are new."""
        step, epoch = newest[4], newest[6]
        if epoch <= 0 or epoch * self._total <= step:
            return 0
        return math.ceil(step / epoch)

    @staticmethod
    def _flat(
        stretch: Sequence[Sequence[float]], start: float, held_out: Sequence[Sequence[float]]
    ) -> float | None:
        """The loss of a stretch that has not measurably fallen, and cannot have by much; None for others."""
        half = len(stretch) // 2
        before, after = _joined(stretch[:half]), _joined(stretch[-half:])
        now, fallen = after[1], before[1] - after[1]
        error = math.sqrt(before[2] / before[0] ** 2 + after[2] / after[0] ** 2)
        if now <= 0 or now < ALL_LEARNT * start or error == 0:
            return None
        if fallen > 1.5 * error or fallen + CERTAIN * error > SLIGHT * now:
            return None
        within = [loss for step, loss in held_out if step >= stretch[0][3]]
        if len(within) > 1 and min(within[1:]) < (1 - SLIGHT / 2) * within[0]:
            return None
        return now

    def _no_progress(self, step: int, rate: float, since: int, loss: float) -> Finding:
        message = _(
            "The loss has not measurably fallen since step {since}: {loss:.4g} at step {step}, and the "
            "learning rate is still {rate:.3g}.",
            since=since,
            loss=loss,
            step=step,
            rate=rate,
        )
        if self._peak < self._lowest:
            higher = setting({"training.learning_rate": self._lowest})
            hint = advise(N_("The rate is below what is usual: train again with {higher}.", higher=higher))
            return Finding("plateau", message, hint)
        by = 10 if RATE_ADVICE in self._progress.told else 3
        lower = setting({"training.learning_rate": self._smaller(self._peak, by)})
        hint = advise(
            N_(
                "More such steps bring nothing. Stop here and use the best checkpoint, or train again with a "
                "smaller rate: {lower}.",
                lower=lower,
            )
        )
        return Finding("plateau", message, hint)

    def _smaller(self, rate: float, by: float) -> float:
        """So many times smaller; not above the rate that was named before the first step."""
        lower = smaller_rate(rate, by)
        warned = RATE_ADVICE in self._progress.told and self._usual > 0
        return min(lower, self._usual) if warned else lower

    # ---- what is kept -------------------------------------------------------------------------------------

    def _kept(self) -> dict[str, Any]:
        """What was seen so far. The run may have gone back to other progress since."""
        watched = self._progress.watched
        for name, value in _KEPT.items():
            watched.setdefault(name, list(value) if isinstance(value, list) else value)
        return watched


def _above_start(low: float, now: float, start: float, sure: bool) -> bool:
    """Whether a loss lies well above the one at the start; not `sure`: of which one batch alone tells."""
    if start <= 0:
        return False
    return low > (SURELY if sure else MUCH) * start and now > (HIGHER if sure else MUCH) * start


def _joined(blocks: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Steps, mean, and the sum of squares about the means of the blocks, for the noise within them."""
    count = sum(block[0] for block in blocks)
    mean = sum(block[0] * block[1] for block in blocks) / count
    # a block of one step has no spread of its own: then all of it is taken for noise
    squares = sum(block[2] for block in blocks)
    inside = sum(block[0] - 1 for block in blocks)
    if inside < count / 2:
        squares = sum(block[2] + block[0] * (block[1] - mean) ** 2 for block in blocks)
        inside = max(1, count - 1)
    return count, mean, squares * count / inside
