"""Learning rate schedules: the share of the peak rate at each step, as pure functions of the step number."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LambdaLR

from tui_tuner.config.kinds.optimizers import find_optimizer
from tui_tuner.config.resolved import ResolvedConfig

if TYPE_CHECKING:
    from torch.optim import Optimizer

TIMESCALE = 10_000  # steps of `inverse_sqrt` without a warm-up, which sets its scale otherwise
DECAY_SHARE = 0.1  # of all steps, at the end of `warmup_stable_decay`

Schedule = Callable[[int, int, int], float]


def keep_rate_constant(step: int, warmup: int, total: int) -> float:
    return 1.0


def lower_rate_linearly(step: int, warmup: int, total: int) -> float:
    return max(0.0, (total - step) / max(1, total - warmup))


def lower_rate_as_cosine(step: int, warmup: int, total: int) -> float:
    return max(0.0, _half_cosine((step - warmup) / max(1, total - warmup)))


def lower_rate_by_root(step: int, warmup: int, total: int) -> float:
    """Fall with the square root of the step: a quarter of the peak rate after 16 times the warm-up."""
    timescale = warmup or TIMESCALE
    return 1.0 / math.sqrt((step + timescale - warmup) / timescale)


def lower_rate_at_end(step: int, warmup: int, total: int) -> float:
    """Stay at the peak, then fall as half a cosine over the last tenth (arXiv 2405.18392)."""
    decay = max(1, round(DECAY_SHARE * total))
    # A warm-up of more than nine tenths ends after this, so the rate then enters the fall partway.
    stable = total - decay
    if step < stable:
        return 1.0
    if step < stable + decay:
        return max(0.0, _half_cosine((step - stable) / decay))
    return 0.0


def _half_cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Schedule] = {
    "constant": keep_rate_constant,
    "linear": lower_rate_linearly,
    "cosine": lower_rate_as_cosine,
    "inverse_sqrt": lower_rate_by_root,
    "warmup_stable_decay": lower_rate_at_end,
}


def find_rate_share(step: int, *, schedule: str, warmup: int, total: int) -> float:
    """Return the share of the peak rate that an optimizer step uses.

    Args:
        step: Optimizer steps taken before this one.
        schedule: One of `SCHEDULES`.
        warmup: Steps in which the rate rises from zero, linearly.
        total: Optimizer steps of the whole run.
    """
    # Counted from 0, so with a warm-up the first step has a rate of zero, as in transformers.
    if step < warmup:
        return step / warmup
    return SCHEDULES[schedule](step, warmup, total)


def create_scheduler(optimizer: Optimizer, config: ResolvedConfig, total: int) -> LambdaLR:
    """Create the scheduler of an optimizer's rates; call its `step` after each optimizer step."""
    training = config.training
    scheduled = find_optimizer(training.optimizer).scheduled
    share = functools.partial(
        find_rate_share,
        schedule=training.schedule if scheduled else "constant",
        warmup=round(training.warmup * total),
        total=total,
    )
    # A partial, not a closure: LambdaLR saves a dict for each, as it did in checkpoints of older versions.
    return LambdaLR(optimizer, share)


def scale_rate(scheduler: LambdaLR, optimizer: Optimizer, scale: float) -> None:
    """Multiply the current learning rate and all later ones of the schedule."""
    # The scheduler computes later rates from `base_lrs`; the next step takes the rate in the groups.
    scheduler.base_lrs = [rate * scale for rate in scheduler.base_lrs]
    scheduler._last_lr = [rate * scale for rate in scheduler.get_last_lr()]
    for group in optimizer.param_groups:
        group["lr"] *= scale
        group["initial_lr"] *= scale
