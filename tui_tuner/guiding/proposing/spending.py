"""What a run takes of time and money, and how it is kept within a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tui_tuner.guiding.machine import Budget, Machine
from tui_tuner.guiding.models.fitting import time_of
from tui_tuner.guiding.proposal import Concern
from tui_tuner.guiding.proposing.draft import Draft
from tui_tuner.locales import _
from tui_tuner.planning.plan import Plan
from tui_tuner.text import human_money, rough_seconds

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
    seconds, basis = time_of(found, machine)
    if seconds is None:
        return Spent(None, None, basis)
    low, likely, high = (BEGIN + one * (1 + MEASURED_AND_LOADED) for one in seconds)
    if price is None:
        return Spent((low, likely, high), None, basis)
    hours = price / 3600
    return Spent((low, likely, high), (low * hours, likely * hours, high * hours), basis)


def price_of(draft: Draft, named: float | None) -> float | None:
    """What an hour costs: as a field was set, or as it was named with the machine."""
    own = draft.answers.more.get("hardware.price_per_hour")
    number = isinstance(own, int | float) and not isinstance(own, bool)
    return float(own) if number and own is not None else named


def settle_budget(draft: Draft, budget: Budget, asked_money: bool) -> None:
    """Price and budget as fields, where there is a price."""
    price = budget.price
    if price is not None:
        draft.set("hardware.price_per_hour", price, _("What an hour of the machine costs."))
    if not asked_money or budget.money is None:
        return
    if not price:
        said = _(
            "{budget:g} cannot be kept to: nobody knows what an hour of the machine costs.",
            budget=budget.money,
        )
        way = _(
            "Say the price with the machine, such as “RTX 4090 at 0.40/h”, or set hardware.price_per_hour."
        )
        draft.add(Concern("no_price", said, way, about="budget"))
        return
    why = _("It is saved and stopped, resumably, before it costs more than that.")
    draft.set("hardware.budget", budget.money, why)


def keep_within(draft: Draft, found: Plan, spent: Spent, budget: Budget) -> bool:
    """Shorten a run that would take more than it may; whether anything was changed."""
    limit, likely = _limit(spent, budget)
    if limit is None or likely is None or found.duration is None or likely <= limit:
        return False
    steps = found.duration.work.steps
    share = max(0.0, limit - BEGIN) / max(likely - BEGIN, 1e-9)
    fewer = max(1, math.floor(steps * share * 0.9))
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
    """The seconds that may be spent, and those that likely are."""
    return budget.seconds, spent.seconds[1] if spent.seconds else None


def _over(spent: Spent, budget: Budget, steps: int, fewer: int) -> Concern:
    """That a run is over the budget, and what is done about it."""
    if (budget.money is None or spent.cost is None) and spent.seconds:
        said = _(
            "All {steps:,} steps would take about {time}, and {limit} are allowed.",
            steps=steps,
            time=rough_seconds(spent.seconds[1]),
            limit=rough_seconds(budget.seconds or 0.0),
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
