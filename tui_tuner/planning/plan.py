"""Everything the plan screen shows, in one call."""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.config.schema import RunConfig
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.advice import Advice, advise
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import Duration, duration_of, steps_of
from tui_tuner.planning.fit import Fit, fit
from tui_tuner.planning.gpus import Card, card_of, find_card
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.learning_rate import Rule, rules
from tui_tuner.planning.memory.stack import Stack
from tui_tuner.planning.resolve import Resolved, resolve


@dataclass(frozen=True)
class Plan:
    """The numbers before a run. `fit` is None without a GPU, `duration` where no rows were counted."""

    facts: ModelFacts
    resolved: Resolved
    fit: Fit | None
    rules: tuple[Rule, ...]
    duration: Duration | None
    advice: tuple[Advice, ...]


def plan(
    config: RunConfig,
    *,
    hardware: Hardware,
    card: Card | str | None = None,
    facts: ModelFacts | None = None,
    data: DataFacts | None = None,
    stack: Stack | None = None,
    tokens_per_second: float | None = None,
    network: bool = True,
) -> Plan:
    """Plan a run for a card, or for this machine's first GPU.

    Raises:
        ModelError, HubError: the model's shapes cannot be had.
        HardwareError: no such card, or GPUs were asked for that are not here.
    """
    facts = facts or load_facts(config.model, network=network)
    if isinstance(card, str):
        card = find_card(card)
    if card is None and config.hardware.devices != "cpu" and hardware.usable_gpus:
        card = card_of(hardware.usable_gpus[0])
    fitted = fit(config, card, facts=facts, stack=stack, data=data) if card else None
    resolved = resolve(config, hardware=hardware, model_facts=facts, data_facts=data)
    used = fitted.config if fitted else resolved.config
    duration, steps = None, None
    if data is not None and data.rows:
        steps = max(1, steps_of(config, data.rows))
        duration = duration_of(used, facts, data, card=card, tokens_per_second=tokens_per_second)
    per_epoch = None if steps is None or config.training.max_steps else round(steps / config.training.epochs)
    return Plan(
        facts,
        resolved,
        fitted,
        tuple(rules(config, facts, data, per_epoch)),
        duration,
        tuple(advise(config, facts, data)),
    )
