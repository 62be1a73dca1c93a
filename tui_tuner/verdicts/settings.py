"""The settings of a run that a verdict and its advice need."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.planning.learning_rate import Customary, find_customary_rate
from tui_tuner.verdicts.gain import is_finite_number
from tui_tuner.verdicts.judged_case import Setting
from tui_tuner.verdicts.run_history import RunHistory


def read_journal_config(gathered: RunHistory) -> RunConfig | None:
    """Return the config of a run; None if its journal has none, or one that this version cannot read."""
    from tui_tuner.config.load import build_config

    if not gathered.config:
        return None
    try:
        return build_config(gathered.config)
    except (TunerError, ValueError, TypeError, RecursionError):
        return None


def find_usual_rate_range(config: RunConfig | None) -> Customary | None:
    """Return the usual learning rate for a config, with its range; None without a config."""
    if config is None:
        return None
    return find_customary_rate(config, encoder=bool(config.task_kind.decides))


def find_peak_rate(gathered: RunHistory, config: RunConfig | None) -> float | None:
    """Return the peak learning rate: resolved, configured, or else the highest of the steps."""
    section = gathered.config.get("training")
    asked = section.get("learning_rate") if isinstance(section, Mapping) else None
    for rate in (gathered.resolved.get("training.learning_rate"), asked):
        if is_finite_number(rate) and rate > 0:
            return float(rate)
    highest = max(gathered.rates, default=0.0)
    return highest if config is not None and highest > 0 and math.isfinite(highest) else None


def _trains_few_weights(config: RunConfig) -> bool:
    """Return whether very few weights are trained: a prompt, factors, one layer, or a rank of 1 or 2."""
    method = config.method
    if method.has_trait(Trait.FEW_WEIGHTS) or (method.reads_field("rank") and method.rank <= 2):
        return True
    return method.reads_field("layers") and method.layers is not None and method.layers <= 1


def make_verdict_setting(gathered: RunHistory, config: RunConfig | None) -> Setting:
    """Make the settings that the rules need, from a history and its config."""
    usual = find_usual_rate_range(config)
    copies = gathered.copies or 0
    held = gathered.held_out or max((len(losses) for losses, _labels in gathered.rows.values()), default=0)
    return Setting(
        # With an unknown number of held-out rows, any copy might be all of them
        copies=min(1.0, copies / held) if held else float(copies > 0),
        repeated=gathered.repeated,
        counted_copies=copies,
        held_out=held,
        rate=find_peak_rate(gathered, config),
        usual=usual.rate if usual else None,
        highest=usual.high if usual else None,
        few_weights=config is not None and _trains_few_weights(config),
    )
