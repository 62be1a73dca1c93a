"""What a run was set to, as far as a verdict and its advice need it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tui_tuner.config.kinds import PROMPTS, RANKED
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import TunerError
from tui_tuner.planning.learning_rate import Customary, customary
from tui_tuner.verdicts.cases import Setting
from tui_tuner.verdicts.gain import is_finite
from tui_tuner.verdicts.gathering import Gathered


def config_of(gathered: Gathered) -> RunConfig | None:
    """The config of a run; None where its journal has none, or one of a newer version."""
    from tui_tuner.config.load import build_config

    if not gathered.config:
        return None
    try:
        return build_config(gathered.config)
    except (TunerError, ValueError, TypeError, RecursionError):
        return None


def usual_of(config: RunConfig | None) -> Customary | None:
    """The usual rate for a config."""
    if config is None:
        return None
    return customary(config, encoder=bool(config.task_kind.decides))


def peak_rate(gathered: Gathered, config: RunConfig | None) -> float | None:
    """The rate at its peak: as it was settled or asked for; of other journals, the highest of the steps."""
    section = gathered.config.get("training")
    asked = section.get("learning_rate") if isinstance(section, Mapping) else None
    for rate in (gathered.resolved.get("training.learning_rate"), asked):
        if is_finite(rate) and rate > 0:
            return float(rate)
    highest = max(gathered.rates, default=0.0)
    return highest if config is not None and highest > 0 and math.isfinite(highest) else None


def _few_weights(config: RunConfig) -> bool:
    """Whether next to nothing is trained: a prompt, factors, one layer, or matrices of rank 1 or 2."""
    method = config.method
    if method.kind in (*RANKED, "loha"):
        return method.rank <= 2 or (method.layers or 99) <= 1
    return method.kind in (*PROMPTS, "ia3", "vera") or (
        method.kind == "freeze" and (method.layers or 99) <= 1
    )


def setting_of(gathered: Gathered, config: RunConfig | None) -> Setting:
    """What the rules have to know of it."""
    usual = usual_of(config)
    copies = gathered.copies or 0
    held = gathered.held_out or max((len(losses) for losses, _labels in gathered.rows.values()), default=0)
    return Setting(
        copies=min(1.0, copies / held) if held else float(copies > 0),
        repeated=gathered.repeated,
        counted_copies=copies,
        held_out=held,
        rate=peak_rate(gathered, config),
        usual=usual.rate if usual else None,
        highest=usual.high if usual else None,
        few_weights=config is not None and _few_weights(config),
    )
