"""What a run takes of time and money, and how it is kept within a budget."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cache

from tui_tuner.guiding.asked import Budget, Machine
from tui_tuner.guiding.draft import Draft
from tui_tuner.guiding.proposal import Concern
from tui_tuner.locales import _
from tui_tuner.planning.plan import Plan
from tui_tuner.text import human_money, rough_seconds

# Of the floating-point operations that a large matrix product reaches on this processor, training reaches a
# share: measured on models of 1 to 135 million parameters
SHARE = 0.45
LEAST_SHARE, MOST_SHARE = 0.2, 0.8
SIZE = 512  # of the matrices that are multiplied
TRIES = 4
MEASURED_AND_LOADED = 0.15  # of training: evaluations, samples and checkpoints
BEGIN = 10.0  # seconds until the first step

Span = tuple[float, float, float]


@dataclass(frozen=True)
class Spent:
    """Seconds and money, each (least, likely, most); None where nobody can tell. `basis` says on what."""

    seconds: Span | None
    cost: Span | None
    basis: str


def spent_by(found: Plan, machine: Machine, price: float | None) -> Spent:
    """What the planned run takes."""
    duration = found.duration
    if duration is None:
        return Spent(None, None, "")
    seconds: Span | None = None
    basis = duration.basis
    if duration.seconds is not None and duration.low is not None and duration.high is not None:
        seconds = (duration.low, duration.seconds, duration.high)
    elif found.fit.card.cpu and (machine.here or machine.cpu):
        speed = processor_speed()
        flops = duration.work.flops
        seconds = (flops / speed / MOST_SHARE, flops / speed / SHARE, flops / speed / LEAST_SHARE)
        basis = _("{speed:.0f} GFLOP/s that this processor has just reached", speed=speed / 1e9)
    if seconds is None:
        return Spent(None, None, basis)
    low, likely, high = (BEGIN + one * (1 + MEASURED_AND_LOADED) for one in seconds)
    if price is None:
        return Spent((low, likely, high), None, basis)
    hours = price / 3600
    return Spent((low, likely, high), (low * hours, likely * hours, high * hours), basis)


@cache
def processor_speed() -> float:
    """Floating-point operations a second of a matrix product in float32 on this processor, measured."""
    import numpy as np

    left = np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32)
    best = math.inf
    for _unused in range(TRIES):
        begun = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - begun)
    return 2 * SIZE**3 / max(best, 1e-9)


def settle_budget(draft: Draft, budget: Budget, machine: Machine) -> float | None:
    """Price and budget as fields, where there is a price; the price."""
    own = draft.answers.more.get("hardware.price_per_hour")
    price = float(own) if isinstance(own, int | float) else machine.price
    if price is not None:
        draft.set("hardware.price_per_hour", price, _("What an hour of the machine costs."))
    if budget.money is None:
        return price
    if price is None:
        draft.add(
            Concern(
                "no_price",
                _(
                    "{budget:g} cannot be kept to: nobody knows what an hour of the machine costs.",
                    budget=budget.money,
                ),
                _(
                    "Say the price with the machine, such as “RTX 4090 at 0.40/h”, or set "
                    "hardware.price_per_hour."
                ),
                about="budget",
            )
        )
        return None
    draft.set(
        "hardware.budget",
        budget.money,
        _("It is saved and stopped, resumably, before it costs more than that."),
    )
    return price


def keep_within(draft: Draft, found: Plan, spent: Spent, budget: Budget) -> bool:
    """Shorten a run that would take more than it may; whether anything was changed."""
    limit, likely = _limit(spent, budget)
    if limit is None or likely is None or found.duration is None or likely <= limit:
        return False
    steps = found.duration.work.steps
    fewer = max(1, math.floor(steps * limit / likely * 0.9))
    draft.add(_over(spent, budget, steps, fewer))
    if draft.own("training.max_steps") or fewer >= steps:
        return False
    draft.set(
        "training.max_steps",
        fewer,
        _("Of {steps:,} steps, so many fit into the budget.", steps=steps),
    )
    return True


def _limit(spent: Spent, budget: Budget) -> tuple[float | None, float | None]:
    """What may be spent and what likely is, in the same unit."""
    if budget.seconds is not None:
        return budget.seconds, spent.seconds[1] if spent.seconds else None
    return budget.money, spent.cost[1] if spent.cost else None


def _over(spent: Spent, budget: Budget, steps: int, fewer: int) -> Concern:
    """That a run is over the budget, and what is done about it."""
    if budget.seconds is not None and spent.seconds:
        said = _(
            "All {steps:,} steps would take about {time}, and {limit} are allowed.",
            steps=steps,
            time=rough_seconds(spent.seconds[1]),
            limit=rough_seconds(budget.seconds),
        )
    else:
        said = _(
            "All {steps:,} steps would cost about {cost}, and {limit} are allowed.",
            steps=steps,
            cost=human_money(spent.cost[1] if spent.cost else 0.0),
            limit=human_money(budget.money or 0.0),
        )
    return Concern(
        "over_budget",
        said,
        _(
            "It ends after {fewer:,} steps. A smaller model, or fewer rows, would come to its end.",
            fewer=fewer,
        ),
        fixes=((_("Take all the steps"), {"training.max_steps": None}),),
        about="budget",
    )
