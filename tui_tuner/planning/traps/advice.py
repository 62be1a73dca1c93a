"""Advice about known traps before a run: findings with a reason and, if there is one, a fix."""

from __future__ import annotations

from dataclasses import replace

from tui_tuner.config.schema import RunConfig
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import Duration
from tui_tuner.planning.traps import head_traps as traps_heads
from tui_tuner.planning.traps import low_rank_traps as traps_low_rank
from tui_tuner.planning.traps import model_traps as traps_model
from tui_tuner.planning.traps import optimizer_traps as traps_optimizer
from tui_tuner.planning.traps import run_traps as traps_run
from tui_tuner.planning.traps import stack_traps as traps_stacks
from tui_tuner.planning.traps import vocabulary_traps as traps_vocabulary
from tui_tuner.planning.traps.findings import TRAPS, Advice, Case

# Importing them registers their traps
MODULES = (
    traps_heads,
    traps_stacks,
    traps_model,
    traps_low_rank,
    traps_optimizer,
    traps_run,
    traps_vocabulary,
)


def list_trap_findings(
    config: RunConfig,
    facts: ModelFacts | None = None,
    data: DataFacts | None = None,
    duration: Duration | None = None,
) -> list[Advice]:
    """Return all findings, serious ones first."""
    case = Case(config, facts, data or DataFacts(0), duration)
    found = [replace(advice, code=code) for code, look in TRAPS.items() if (advice := look(case)) is not None]
    return sorted(found, key=lambda advice: not advice.serious)
