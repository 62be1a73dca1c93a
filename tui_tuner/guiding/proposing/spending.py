"""Time and money that a run takes, and shortening it to a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tui_tuner.guiding.machine import Budget, Machine
from tui_tuner.guiding.models.fitting import estimate_training_time
from tui_tuner.guiding.proposal import Concern
from tui_tuner.guiding.proposing.draft import Draft
from tui_tuner.locales import _
from tui_tuner.planning.plan import Plan
from tui_tuner.text import format_money, format_rough_seconds

MEASURED_AND_LOADED = 0.15  # of training: evaluations, samples and checkpoints
BEGIN = 10.0  # seconds until the first step

Span = tuple[float, float, float]


@dataclass(frozen=True)
class Spent:
    """Seconds and money, each (least, likely, most); None if unknown. `basis` is the estimate's source."""

    seconds: Span | None
    cost: Span | None
    basis: str


def estimate_spending(found: Plan, machine: Machine, price: float | None) -> Spent:
    """Estimate time and cost of the planned run, evaluations and checkpoints included."""
    seconds, basis = estimate_training_time(found, machine)
    if seconds is None:
        return Spent(None, None, basis)
    # The plan times only training steps; users wait for loading, evaluations and checkpoints, too
    low, likely, high = (BEGIN + one * (1 + MEASURED_AND_LOADED) for one in seconds)
    if price is None:
        return Spent((low, likely, high), None, basis)
    hours = price / 3600
    return Spent((low, likely, high), (low * hours, likely * hours, high * hours), basis)


def find_price(draft: Draft, named: float | None) -> float | None:
    """Return the price of an hour: the user's own field, else the price named with the machine."""
    own = draft.answers.more.get("hardware.price_per_hour")
    # Fields set directly are not validated yet: a text here is reported when the config is built
    number = isinstance(own, int | float) and not isinstance(own, bool)
    return float(own) if number and own is not None else named


def settle_budget(draft: Draft, budget: Budget, asked_money: bool) -> None:
    """Set the fields for price and budget, if a price is known."""
    price = budget.price
    if price is not None:
        draft.set_field("hardware.price_per_hour", price, _("The price of an hour of the machine."))
    if not asked_money or budget.money is None:
        return
    # A price of 0 is no price either: the limit would never be reached
    if not price:
        said = _(
            "A budget of {budget:g} cannot be kept: the price of an hour of the machine is unknown.",
            budget=budget.money,
        )
        way = _("Add the price to the machine, such as “RTX 4090 at 0.40/h”, or set hardware.price_per_hour.")
        draft.add_concerns(Concern("no_price", said, way, about="budget"))
        return
    why = _("The run is saved and stopped before it costs more than that, and can be resumed.")
    draft.set_field("hardware.budget", budget.money, why)


def keep_within_budget(draft: Draft, found: Plan, spent: Spent, budget: Budget) -> bool:
    """Shorten a run that would exceed the budget; return whether anything changed."""
    limit, likely = _compare_with_limit(spent, budget)
    if limit is None or likely is None or found.duration is None or likely <= limit:
        return False
    steps = found.duration.work.steps
    share = max(0.0, limit - BEGIN) / max(likely - BEGIN, 1e-9)
    # A tenth less, as the estimate of a step's time is rough
    fewer = max(1, math.floor(steps * share * 0.9))
    draft.add_concerns(_describe_overrun(spent, budget, steps, fewer))
    # The concern is shown either way; only a number of steps that the user set is left alone
    if draft.has_own("training.max_steps") or fewer >= steps:
        return False
    draft.set_field(
        "training.max_steps",
        fewer,
        _("So many of {steps:,} steps fit into the budget.", steps=steps),
    )
    return True


def _compare_with_limit(spent: Spent, budget: Budget) -> tuple[float | None, float | None]:
    """Return (seconds allowed, likely seconds)."""
    return budget.seconds, spent.seconds[1] if spent.seconds else None


def _describe_overrun(spent: Spent, budget: Budget, steps: int, fewer: int) -> Concern:
    """Describe by how much a run exceeds the budget, and after which step it ends instead."""
    if (budget.money is None or spent.cost is None) and spent.seconds:
        said = _(
            "All {steps:,} steps would take about {time}, and {limit} are allowed.",
            steps=steps,
            time=format_rough_seconds(spent.seconds[1]),
            limit=format_rough_seconds(budget.seconds or 0.0),
        )
    else:
        said = _(
            "All {steps:,} steps would cost about {cost}, and {limit} are allowed.",
            steps=steps,
            cost=format_money(spent.cost[1] if spent.cost else 0.0),
            limit=format_money(budget.money or 0.0),
        )
    return Concern(
        "over_budget",
        said,
        _(
            "It ends after {fewer:,} steps. A smaller model or fewer rows would finish within the budget.",
            fewer=fewer,
        ),
        fixes=((_("Take all the steps"), {"training.max_steps": None}),),
        about="budget",
    )
