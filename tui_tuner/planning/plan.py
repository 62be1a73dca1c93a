"""Everything the plan screen shows, in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _
from tui_tuner.methods.numbers.rates import Rule
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.calibration import calibrate_card
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import Duration, count_run_steps, estimate_duration
from tui_tuner.planning.fit import Fit, fit_run
from tui_tuner.planning.gpus import Card, find_gpu_card, find_local_card
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.heads.parameters import Parameters, count_run_parameters
from tui_tuner.planning.learning_rate import apply_rate_rules
from tui_tuner.planning.memory.stack import Stack
from tui_tuner.planning.resolve import ResolvedRun, resolve_config
from tui_tuner.planning.speed.rate_store import add_rates_to_card
from tui_tuner.planning.traps.advice import list_trap_findings
from tui_tuner.planning.traps.findings import Advice

if TYPE_CHECKING:
    from tui_tuner.planning.throughput import Speed  # reads journals, which most questions do without


@dataclass(frozen=True)
class Plan:
    """The predictions for a run. `duration` is None if no rows were counted; `file_bytes` are of the weights
    that are saved in the end."""

    facts: ModelFacts
    resolved: ResolvedRun
    fit: Fit
    rules: tuple[Rule, ...]
    duration: Duration | None
    advice: tuple[Advice, ...]
    rate: Rate
    parameters: Parameters
    file_bytes: int


@dataclass(frozen=True)
class Rate:
    """The peak learning rate of the run, the rule it is from (empty if the user set it), and why."""

    value: float
    rule: str
    why: str


@dataclass(frozen=True)
class Surroundings:
    """The numbers of a plan other than memory."""

    rules: tuple[Rule, ...]
    rate: Rate
    duration: Duration | None
    advice: tuple[Advice, ...]
    parameters: Parameters
    file_bytes: int


def plan_run(
    config: RunConfig,
    *,
    hardware: Hardware,
    card: Card | str | None = None,
    facts: ModelFacts | None = None,
    data: DataFacts | None = None,
    stack: Stack | None = None,
    speed: Speed | None = None,
    network: bool = True,
    levers: bool = True,
) -> Plan:
    """Plan a run for a card, or for what this machine would train on: its first GPU, or its RAM.

    Args:
        levers: Whether to find out what each change alone would save.

    Raises:
        ModelError, HubError: the model's shapes cannot be had.
        HardwareError: no such card, or GPUs were asked for that are not here.
    """
    facts = facts or load_facts(config.model, network=network)
    if isinstance(card, str):
        card = find_gpu_card(card)
    # A named card is planned by its data sheet; only this machine's own GPU was measured
    card = card or add_rates_to_card(calibrate_card(find_local_card(config, hardware)))
    # Another stack is not what runs on this machine, so its hardware says nothing about it
    here = None if stack is not None and stack.foreign else hardware
    fitted = fit_run(config, card, facts=facts, stack=stack, data=data, hardware=here, levers=levers)
    used = fitted.config
    resolved = resolve_config(
        config,
        hardware=hardware,
        model_facts=facts,
        data_facts=data,
        fitted=used,
        said=fitted.reasons,
    )
    around = plan_surroundings(config, used, facts, data, card, speed)
    return Plan(
        facts,
        resolved,
        fitted,
        around.rules,
        around.duration,
        around.advice,
        around.rate,
        around.parameters,
        around.file_bytes,
    )


def plan_surroundings(
    config: RunConfig,
    used: ResolvedConfig,
    facts: ModelFacts,
    data: DataFacts | None = None,
    card: Card | None = None,
    speed: Speed | None = None,
) -> Surroundings:
    """Compute the numbers of a plan other than memory.

    Args:
        config: As asked for.
        used: The same with every `auto` resolved for the card.
        speed: What a run of this kind has reached.
    """
    duration, per_epoch = None, None
    if data is not None and data.rows:
        steps = count_run_steps(config, data.rows)
        duration = estimate_duration(used, facts, data, card=card, speed=speed)
        # With max_steps an epoch may never be completed, so the rule counts by rows and batch
        per_epoch = None if config.training.max_steps else max(1, round(steps / config.training.epochs))
    found = tuple(apply_rate_rules(config, facts, data, per_epoch))
    findings = tuple(list_trap_findings(config, facts, data, duration))
    parameters = count_run_parameters(config, facts, data)
    size = parameters.measure_file(used.model.dtype)
    return Surroundings(found, _choose_rate(config, found), duration, findings, parameters, size)


def _choose_rate(config: RunConfig, found: tuple[Rule, ...]) -> Rate:
    """Return the learning rate of the run; `auto` uses the first rule."""
    asked = config.training.learning_rate
    if asked != "auto":
        return Rate(float(asked), "", _("set in the config"))
    assert found[0].rate is not None
    return Rate(
        found[0].rate,
        found[0].name,
        _("auto uses the rate that is {name}: {source}", name=_(found[0].name), source=found[0].source),
    )
