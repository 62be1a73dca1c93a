"""Watch the loss over many steps: it may diverge, or stop falling while the rate is still high.

The watch gets numbers only after they were read from the device for the journal. It keeps in the run's
progress what it has seen and reported, so a resumed run continues from there and reports nothing twice.

Losses of single batches are noisy, and how noisy differs from run to run. So stretches of steps are compared,
by figures that need no scale: nearly all values of one must lie above nearly all values of the other.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.locales import N_, _
from tui_tuner.training.watching.number_watch import Finding, is_new_code, lower_learning_rate

FEWEST, MOST = 8, 50  # steps of a stretch; a twentieth of the run between them
SEVERAL = 12  # steps of a stretch from which on a few of its values may be outliers
# A loss has diverged at this many times the loss at the start: its median, and nearly all its values.
HIGHER, SURELY = 1.5, 1.2
MUCH = 3.0  # the same if only the first batch shows how high the loss was
LOST = 0.5  # or if this share of the progress so far is lost again
AWAY = 0.25  # and at least this share of the loss at the start

RATE_ADVICE = "advice_learning_rate"  # code of a warning about the rate before the first step
BLOCKS = 64  # stretches that a whole run is summed up in
SHARE, LEAST = 0.25, 48  # share of all steps, and number of steps, without progress that make a plateau
STILL_HIGH = 0.5  # of the highest rate so far
SLIGHT = 0.03  # share of the loss by which it may have fallen on a plateau at most
ALL_LEARNT = 0.05  # share of the loss at the start below which there is nothing left to learn
CERTAIN = 4.0  # standard errors: that many because many stretches are tested

_KEPT: dict[str, Any] = {"first": None, "held_out": [], "best": None, "blocks": [], "top": 0.0, "early": []}


class Kept(Protocol):
    """The part of a run's progress that this watch keeps (`training.keeping.progress.Progress`)."""

    watched: dict[str, Any]
    told: list[str]


class CurveWatch:
    """Takes in each step in order, and the losses on held-out rows; reports each finding once in a run.

    Args:
        progress: Keeps what was seen (`watched`) and the codes of what was reported (`told`).
        total: Steps of the run.
        peak: `training.learning_rate` of the run.
        lowest: The lowest rate that is usual for such a run; 0 if that is not known.
        usual: The rate that the plan recommends if it warns of another; 0 if that is not known.
    """

    def __init__(
        self, progress: Kept, total: int, peak: float, lowest: float = 0.0, usual: float = 0.0
    ) -> None:
        self._progress, self._total, self._peak, self._lowest = progress, total, peak, lowest
        self._usual = usual
        self._steps = min(MOST, max(FEWEST, total // 20))
        self._outside = 0 if self._steps < SEVERAL else self._steps // 8
        self._recent: deque[tuple[int, float]] = deque(maxlen=self._steps)

    def feed_losses(self, step: int, loss: float | None, rate: float, epoch: float = 0.0) -> list[Finding]:
        """Take in a step's loss, None if it has no finite one; return the new findings."""
        if loss is None or not math.isfinite(loss):
            return []
        kept = self._load_kept()
        if self._recent and step <= self._recent[-1][0]:
            self._recent.clear()  # the run was rolled back
        kept["first"] = loss if kept["first"] is None else kept["first"]
        kept["top"] = max(kept["top"], rate)
        if len(kept["early"]) < self._steps:
            kept["early"].append([step, loss, rate])
        self._recent.append((step, loss))
        grown = self._add_to_blocks(kept["blocks"], step, loss, rate, epoch)
        found = [
            self._find_divergence(kept, step, rate),
            self._find_plateau(kept, step, rate) if grown else None,
        ]
        return [one for one in found if one is not None and is_new_code(self._progress.told, one.code)]

    def feed_held_out(self, step: int, loss: float | None) -> None:
        """Take in the loss on held-out rows at a step, 0 if it was measured before the first."""
        if loss is not None and math.isfinite(loss):
            held_out = self._load_kept()["held_out"]
            held_out[:] = [one for one in held_out if one[0] < step] + [[step, loss]]

    # ---- divergence ---------------------------------------------------------------------------------------

    def _find_divergence(self, kept: dict[str, Any], step: int, rate: float) -> Finding | None:
        if len(self._recent) < self._steps or "diverged" in self._progress.told:
            return None
        low, now, high = self._find_level()
        best = kept["best"]
        held_out = kept["held_out"]
        before = held_out[0][1] if held_out and held_out[0][0] == 0 else None
        # The first batch may be an easy one, so the higher of the two levels counts as the start.
        start = max(kept["first"], before) if before is not None else kept["first"]
        found = self._find_excursion(kept, step, start, before is not None)
        if found is None and _is_above_start(low, now, start, sure=before is not None):
            found = self._describe_divergence(step, now, rate, start, 0)
        # Only a best stretch that does not overlap the newest one can be compared with it.
        elif found is None and best is not None and best["step"] <= step - self._steps and low > best["high"]:
            highest = max(start, best["first"])
            if now - best["loss"] > max(LOST * (highest - best["loss"]), AWAY * abs(highest)):
                found = self._describe_divergence(step, now, rate, best["loss"], best["step"])
        # The best is updated last: the newest stretch must not be compared with itself.
        if best is None or now < best["loss"]:
            first = now if best is None else best["first"]
            kept["best"] = {"loss": now, "high": high, "step": step, "first": first}
        return found

    def _find_excursion(self, kept: dict[str, Any], step: int, start: float, sure: bool) -> Finding | None:
        """Find a few early steps far above the start, after which the loss came back at once.

        How far is far is decided once as many steps have followed, which show the noise.
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
        # Between neighbours, so that a fall over all of the steps does not count as noise.
        noise = statistics.median(abs(one - other) for one, other in pairwise(later))
        far = max(math.log(HIGHER if sure else MUCH), 5 * noise)
        # Three steps together, because one batch alone may be a hard one.
        for place in range(1, len(early) - 2):
            logs = [math.log(loss) for _step, loss, _rate in early[place : place + 3]]
            if min(logs) > math.log(start) and sum(logs) / 3 - math.log(start) > far:
                at, loss, rate = max(early[place : place + 3], key=lambda one: one[1])
                return self._describe_divergence(int(at), loss, rate, start, 0)
        return None

    def _find_level(self) -> tuple[float, float, float]:
        """Return the median of the newest losses, between two values that nearly all of them lie within."""
        losses = sorted(loss for _step, loss in self._recent)
        return losses[self._outside], statistics.median(losses), losses[-1 - self._outside]

    def _describe_divergence(self, step: int, now: float, rate: float, before: float, at: int) -> Finding:
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
        lower = write_setting({"training.learning_rate": self._lower_rate(min(rate, self._peak), 10)})
        hint = build_hint(
            N_(
                "The rate is too high, and what was learned is lost. Stop, and train again with {lower}.",
                lower=lower,
            )
        )
        return Finding("diverged", message, hint)

    # ---- plateau ------------------------------------------------------------------------------------------

    def _add_to_blocks(
        self, blocks: list[list[float]], step: int, loss: float, rate: float, epoch: float
    ) -> bool:
        """Add a step to the newest block; return whether that block is full now."""
        size = max(1, -(-self._total // BLOCKS))
        while blocks and blocks[-1][3] >= step:
            blocks.pop()  # the run was rolled back
        # Steps, mean loss, sum of squares about it, first step, last step, lowest rate, epoch. A plain list,
        # as progress is saved as JSON; mean and squares by Welford's method, as losses are not kept.
        if not blocks or blocks[-1][0] >= size:
            blocks.append([0, 0.0, 0.0, step, step, rate, epoch])
        block = blocks[-1]
        block[0] += 1
        away = loss - block[1]
        block[1] += away / block[0]
        block[2] += away * (loss - block[1])
        block[4], block[5], block[6] = step, min(block[5], rate), epoch
        return block[0] >= size

    def _find_plateau(self, kept: dict[str, Any], step: int, rate: float) -> Finding | None:
        if "plateau" in self._progress.told or "diverged" in self._progress.told:
            return None
        blocks = kept["blocks"]
        least = max(LEAST, math.ceil(SHARE * self._total), self._steps_of_pass(blocks[-1]))
        start = max(kept["first"], blocks[0][1])
        for begin in range(len(blocks) - 2, -1, -1):
            stretch = blocks[begin:]
            if min(block[5] for block in stretch) < STILL_HIGH * kept["top"]:
                return None  # longer stretches contain this one
            if step - stretch[0][3] + 1 < least:
                continue
            now = self._find_flat_loss(stretch, start, kept["held_out"])
            if now is not None:
                return self._describe_no_progress(step, rate, int(stretch[0][3]), now)
        return None

    def _steps_of_pass(self, newest: Sequence[float]) -> int:
        """Return the steps of a pass over the rows, 0 if the run makes only one."""
        # Within a pass all rows are new, so less than a pass cannot show that nothing more is learned.
        step, epoch = newest[4], newest[6]
        if epoch <= 0 or epoch * self._total <= step:
            return 0
        return math.ceil(step / epoch)

    @staticmethod
    def _find_flat_loss(
        stretch: Sequence[Sequence[float]], start: float, held_out: Sequence[Sequence[float]]
    ) -> float | None:
        """Return the loss of a stretch in which it has not fallen measurably, else None."""
        half = len(stretch) // 2
        before, after = _join_blocks(stretch[:half]), _join_blocks(stretch[-half:])
        now, fallen = after[1], before[1] - after[1]
        error = math.sqrt(before[2] / before[0] ** 2 + after[2] / after[0] ** 2)
        if now <= 0 or now < ALL_LEARNT * start or error == 0:
            return None
        # The second test excludes stretches so noisy that a fall worth having could hide in them.
        if fallen > 1.5 * error or fallen + CERTAIN * error > SLIGHT * now:
            return None
        # Held-out rows may still improve; the first value is where the stretch began.
        within = [loss for step, loss in held_out if step >= stretch[0][3]]
        if len(within) > 1 and min(within[1:]) < (1 - SLIGHT / 2) * within[0]:
            return None
        return now

    def _describe_no_progress(self, step: int, rate: float, since: int, loss: float) -> Finding:
        message = _(
            "The loss has not measurably fallen since step {since}: {loss:.4g} at step {step}, and the "
            "learning rate is still {rate:.3g}.",
            since=since,
            loss=loss,
            step=step,
            rate=rate,
        )
        if self._peak < self._lowest:
            higher = write_setting({"training.learning_rate": self._lowest})
            hint = build_hint(N_("The rate is lower than usual: train again with {higher}.", higher=higher))
            return Finding("plateau", message, hint)
        by = 10 if RATE_ADVICE in self._progress.told else 3
        lower = write_setting({"training.learning_rate": self._lower_rate(self._peak, by)})
        hint = build_hint(
            N_(
                "More of these steps will not help. Stop here and use the best checkpoint, or train again "
                "with a lower rate: {lower}.",
                lower=lower,
            )
        )
        return Finding("plateau", message, hint)

    def _lower_rate(self, rate: float, by: float) -> float:
        """Return a rate that is `by` times lower, at most the one recommended before the first step."""
        lower = lower_learning_rate(rate, by)
        warned = RATE_ADVICE in self._progress.told and self._usual > 0
        return min(lower, self._usual) if warned else lower

    # ---- what is kept -------------------------------------------------------------------------------------

    def _load_kept(self) -> dict[str, Any]:
        """Return what was seen so far, with missing values added."""
        # Not kept in an attribute, as a rollback puts the progress of a checkpoint in its place.
        watched = self._progress.watched
        for name, value in _KEPT.items():
            watched.setdefault(name, list(value) if isinstance(value, list) else value)
        return watched


def _is_above_start(low: float, now: float, start: float, sure: bool) -> bool:
    """Return whether a loss is well above the one at the start, known from one batch only if not `sure`."""
    if start <= 0:
        return False
    return low > (SURELY if sure else MUCH) * start and now > (HIGHER if sure else MUCH) * start


def _join_blocks(blocks: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Return steps, mean, and the sum of squares about the means of the blocks, which is their noise."""
    count = sum(block[0] for block in blocks)
    mean = sum(block[0] * block[1] for block in blocks) / count
    # A block of one step has no spread. If most are like that, all differences count as noise.
    squares = sum(block[2] for block in blocks)
    inside = sum(block[0] - 1 for block in blocks)
    if inside < count / 2:
        squares = sum(block[2] + block[0] * (block[1] - mean) ** 2 for block in blocks)
        inside = max(1, count - 1)
    return count, mean, squares * count / inside
