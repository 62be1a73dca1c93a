"""What every `auto` becomes, once the rows are known: the config that a run trains with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tui_tuner.config.load import dump_config, read_config
from tui_tuner.config.options import get_value, options
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.values import with_values
from tui_tuner.data.examples.prepare import Prepared
from tui_tuner.errors import TunerError
from tui_tuner.models.device import Device, find_device
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning import hardware
from tui_tuner.planning.data_facts import DataFacts, counted_facts
from tui_tuner.planning.fit import settle
from tui_tuner.runs.events import Resolved
from tui_tuner.training.context import RunContext
from tui_tuner.training.positions import check_positions

RESOLVED = "config.resolved.yaml"
# What an `auto` becomes on each machine anew: a run that began on a CPU may be resumed on a GPU.
_ANEW = ("hardware.devices",)


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


def keep_choices(context: RunContext) -> RunConfig:
    """The config as asked for; in a resumed run, what an `auto` became before stays what it is."""
    path = context.folder.path / RESOLVED
    if context.checkpoint is None or not path.is_file():
        return context.asked
    before = read_config(path)
    kept = {
        name: get_value(before, name)
        for name in options()
        if name not in _ANEW and get_value(context.asked, name) == "auto"
    }
    return with_values(context.asked, kept)


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
    found = settle(config, hardware=here, model_facts=facts, data_facts=data)
    for reason in found.reasons:
        reporter.emit(Resolved(reason.field, reason.value, reason.why))
    context.write(RESOLVED, dump_config(found.config))
    place = "cpu" if found.config.hardware.devices == "cpu" else f"cuda:{context.ranks.local_rank}"
    return Settled(found.config, find_device(place, here.devices), facts, data)


def _load_facts(config: RunConfig) -> Any:
    """Shapes of the model for choosing; None where they cannot be read (loading will say why)."""
    try:
        return load_facts(config.model, network=False)
    except (TunerError, ImportError):
        return None
