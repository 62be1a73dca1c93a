"""Choose a value for every `auto` once the rows are known: the config that a run trains with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tui_tuner.config import notices
from tui_tuner.config.applying import describe_unread_fields
from tui_tuner.config.load import dump_config
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import edit_values
from tui_tuner.data.examples.prepare import PreparedRows
from tui_tuner.errors import TunerError
from tui_tuner.locales import _
from tui_tuner.models.device import Device, find_device
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.models.growing.grown_facts import settle_new_tokens
from tui_tuner.models.growing.growth import Growth, find_growth
from tui_tuner.planning import hardware
from tui_tuner.planning.data_facts import DataFacts, make_facts
from tui_tuner.planning.fit import fit_config_to_machine, has_open_settings
from tui_tuner.planning.hardware import Hardware
from tui_tuner.planning.speed.rate_store import keep_measured_rates
from tui_tuner.planning.speed.speed_rates import Rates, describe_rates
from tui_tuner.runs.events import Resolved
from tui_tuner.tasks.preview.better_tasks import find_better_task
from tui_tuner.training.context import RunContext
from tui_tuner.training.positions import check_positions, find_longest_text
from tui_tuner.training.resuming import RESOLVED
from tui_tuner.training.watching.beforehand import report_advice


@dataclass(frozen=True)
class SettledConfig:
    """The config with a value for each `auto`, and the facts it was chosen by.

    Args:
        facts: The model's shapes; None if they cannot be read.
        data: The sizes of the rows.
    """

    config: ResolvedConfig
    device: Device
    facts: ModelFacts | None
    data: DataFacts


def settle_config(context: RunContext, config: RunConfig, prepared: PreparedRows) -> SettledConfig:
    """Choose a value for each `auto`, log each choice, and write the config to the run folder.

    Raises:
        ConfigError, HardwareError: the run cannot be trained with this config on this machine.
    """
    reporter = context.reporter
    facts = _load_facts(config, find_growth(prepared.tokenizer))
    data = make_facts(prepared.train, prepared.validation, config.trained_share)
    parts = (prepared.train, prepared.validation)
    longest, field = find_longest_text(parts, config.task_kind.encoder_decoder)
    check_positions(facts, longest, reporter, config.method.prompt_length, field)
    here = hardware.detect_hardware()
    _say_unread(context, config)
    _say_other_task(context, config)
    own = _choose_by_task(context, config, prepared)
    for name, (value, why) in own.items():
        reporter.emit(Resolved(name, value, why))
    # Before the rest is chosen, which must fit what the task has decided.
    config = edit_values(config, {name: value for name, (value, _why) in own.items()})
    found = fit_config_to_machine(
        config, hardware=here, model_facts=facts, data_facts=data, rates=_measure_rates(context, config, here)
    )
    for reason in found.reasons:
        reporter.emit(Resolved(reason.field, reason.value, reason.why))
    # An address for notifications lets anyone who has it write there, and run folders get shared.
    told = {notices.FIELD: notices.mask_notify_entries(found.config.output.notify)}
    context.write_text(RESOLVED, dump_config(edit_values(found.config, told)))
    context.progress.asked = notices.mask_notify_addresses(context.asked.model_dump(mode="json"))
    context.progress.config = notices.mask_notify_addresses(found.config.model_dump(mode="json"))
    report_advice(reporter, context.progress.told, context.asked, facts, data)
    place = "cpu" if found.config.hardware.devices == "cpu" else f"cuda:{context.ranks.local_rank}"
    return SettledConfig(found.config, find_device(place, here.compute_devices), facts, data)


def _say_unread(context: RunContext, config: RunConfig) -> None:
    """Warn of fields that are set but have no effect in this run."""
    # Not again in a resumed run: its journal has these warnings from the start.
    for one in describe_unread_fields(config) if context.checkpoint is None else ():
        context.reporter.report_warning("unread_fields", one.said, one.reason)


def _say_other_task(context: RunContext, config: RunConfig) -> None:
    """Warn if another task fits the rows better."""
    better = find_better_task(config) if context.checkpoint is None else None
    if better is not None:
        context.reporter.report_warning("other_task", better.sentence, better.hint)


def _choose_by_task(
    context: RunContext, config: RunConfig, prepared: PreparedRows
) -> dict[str, tuple[Any, str]]:
    """Return what the task decides from its rows, with the metric for the best if none was chosen."""
    own = context.task.settle_fields(config, prepared.learned)
    best = context.task.best_metric(config)
    if "evaluation.best" not in own and best != config.best_metric:
        own["evaluation.best"] = best, _("The first metric of this task.")
    return own


def _measure_rates(context: RunContext, config: RunConfig, here: Hardware) -> Rates | None:
    """Measure how fast the GPU is; None if nothing is chosen by that, or it cannot be measured."""
    if config.hardware.devices == "cpu" or not here.usable_gpus or not has_open_settings(config):
        return None
    # Not in a deterministic run, whose cuBLAS workspace must be set before the first matrix product. All
    # ranks take what the main one measured: figures of their own would make them choose differently.
    found = None
    if context.ranks.is_main and not config.training.deterministic:
        from tui_tuner.training.watching.rates_probe import measure_rates

        found = measure_rates(f"cuda:{context.ranks.local_rank}")
    if found is not None:
        found = keep_measured_rates(here.usable_gpus[0].name, found)
        context.reporter.report_log(describe_rates(found))
    agreed: Rates | None = context.ranks.broadcast_object(found)
    return agreed


def _load_facts(config: RunConfig, growth: Growth | None) -> Any:
    """Read the shapes of the model with its new tokens; None if that fails, as loading will report why."""
    model = config.model if growth is None else settle_new_tokens(config.model, len(growth.tokens))
    try:
        return load_facts(model, network=False)
    except (TunerError, ImportError):
        return None
