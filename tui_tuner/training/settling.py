"""What every `auto` becomes, once the rows are known: the config that a run trains with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tui_tuner.config import notices
from tui_tuner.config.applying import unread_said
from tui_tuner.config.load import dump_config
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.data.examples.prepare import Prepared
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.models.device import Device, find_device
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning import hardware
from tui_tuner.planning.data_facts import DataFacts, counted_facts
from tui_tuner.planning.fit import left_open, settle
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.speed.kept import keep_rates
from tui_tuner.planning.speed.rates import Rates, rates_words
from tui_tuner.runs.events import Resolved
from tui_tuner.tasks.preview.suiting import better_task
from tui_tuner.training.context import RunContext
from tui_tuner.training.positions import check_positions
from tui_tuner.training.resuming import RESOLVED
from tui_tuner.training.watching.beforehand import say_advice


@dataclass(frozen=True)
class Settled:
    """The config without `auto`, and what it was chosen by.

    Args:
        facts: The model's shapes; None where they cannot be read.
        data: What is known of the rows.
    """

    config: ResolvedConfig
    device: Device
    facts: ModelFacts | None
    data: DataFacts


def settle_config(context: RunContext, config: RunConfig, prepared: Prepared) -> Settled:
    """Choose what was left open, say each choice in the journal, and keep the config in the run folder.

    Raises:
        ConfigError, HardwareError: it cannot be trained like this here.
    """
    reporter = context.reporter
    facts = _load_facts(config)
    data = counted_facts(prepared.train, prepared.validation)
    parts = (prepared.train, prepared.validation)
    longest = max(int(rows.lengths.max()) for rows in parts if rows is not None and len(rows))
    check_positions(facts, longest, reporter, config.method.prompt_length)
    here = hardware.detect()
    _say_unread(context, config)
    _say_other_task(context, config)
    own = _choose_by_task(context, config, prepared)
    for name, (value, why) in own.items():
        reporter.emit(Resolved(name, value, why))
    config = with_values(config, {name: value for name, (value, _why) in own.items()})
    found = settle(
        config, hardware=here, model_facts=facts, data_facts=data, rates=_measure(context, config, here)
    )
    for reason in found.reasons:
        reporter.emit(Resolved(reason.field, reason.value, reason.why))
    told = {notices.FIELD: notices.shown_entries(found.config.output.notify)}
    context.write(RESOLVED, dump_config(with_values(found.config, told)))
    context.progress.asked = notices.without_addresses(context.asked.model_dump(mode="json"))
    context.progress.config = notices.without_addresses(found.config.model_dump(mode="json"))
    say_advice(reporter, context.progress.told, context.asked, facts, data)
    place = "cpu" if found.config.hardware.devices == "cpu" else f"cuda:{context.ranks.local_rank}"
    return Settled(found.config, find_device(place, here.devices), facts, data)


def _say_unread(context: RunContext, config: RunConfig) -> None:
    """Name the fields that somebody set and that have no effect here."""
    for one in unread_said(config) if context.checkpoint is None else ():
        context.reporter.warn("unread_fields", one.said, one.reason)


def _say_other_task(context: RunContext, config: RunConfig) -> None:
    """Say so where another task fits the rows better."""
    better = better_task(config) if context.checkpoint is None else None
    if better is not None:
        context.reporter.warn("other_task", better.sentence, better.hint)


def _choose_by_task(context: RunContext, config: RunConfig, prepared: Prepared) -> dict[str, tuple[Any, str]]:
    """What the task decides by its rows; and by which of its metrics it is judged, where nobody says so."""
    own = context.task.settle(config, prepared.learned)
    best = context.task.best_metric(config)
    if "evaluation.best" not in own and best != config.best_metric:
        own["evaluation.best"] = best, _("The first metric of this task.")
    return own


def _measure(context: RunContext, config: RunConfig, here: Hardware) -> Rates | None:
    """How fast the GPU is that something is chosen for; None where nothing is, or it was not measured.

    All processes of a run choose by what the first of them found, or each would choose something else.
    """
    if config.hardware.devices == "cpu" or not here.usable_gpus or not left_open(config):
        return None
    found = None
    if (
        context.ranks.main and not config.training.deterministic
    ):  # whose workspaces are set before any product
        from tui_tuner.training.watching.rates_probe import measure_rates

        found = measure_rates(f"cuda:{context.ranks.local_rank}")
    if found is not None:
        found = keep_rates(here.usable_gpus[0].name, found)
        context.reporter.log(rates_words(found))
    agreed: Rates | None = context.ranks.broadcast(found)
    return agreed


def _load_facts(config: RunConfig) -> Any:
    """Shapes of the model for choosing; None where they cannot be read (loading will say why)."""
    try:
        return load_facts(config.model, network=False)
    except (TunerError, ImportError):
        return None
