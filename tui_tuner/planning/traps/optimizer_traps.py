"""What stands against the chosen optimizer: a missing library, or weights that do not suit it."""

from __future__ import annotations

from tui_tuner.config.kinds.optimizers import (
    advise_install,
    explain_absence,
    find_optimizer,
    refuse_matrices,
)
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ConfigError
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.estimate import make_memory_setup, resolve_for_card
from tui_tuner.planning.memory.stack import find_installed_stack
from tui_tuner.planning.memory.static import list_trained_tensors
from tui_tuner.planning.optimizer_states import is_special_matrix
from tui_tuner.planning.traps.findings import Advice, Case, make_trap_finding, register_trap


def find_matrix_problem(config: RunConfig, facts: ModelFacts) -> ConfigError | None:
    """Return what is wrong with an optimizer for matrices in a run that trains none, as far as is known."""
    name, rank = config.training.optimizer, config.training.optimizer_rank
    if not find_optimizer(name).for_matrices or not facts.verified:
        return None
    stack = find_installed_stack()
    resolved = resolve_for_card(config, facts, None, stack).config
    inside = [
        one for one in list_trained_tensors(make_memory_setup(resolved, facts, stack, None)) if one.inside
    ]
    known = all(one.shape for one in inside)
    if not known or any(is_special_matrix(name, one, rank) for one in inside):
        return None
    return refuse_matrices(name, rank)


@register_trap
def optimizer_missing(case: Case) -> Advice | None:
    missing = explain_absence(case.config.training.optimizer)
    if not missing:
        return None
    return make_trap_finding(missing, advise_install(), {"training.optimizer": "adamw"}, serious=True)


@register_trap
def no_matrix_to_train(case: Case) -> Advice | None:
    problem = None if case.facts is None else find_matrix_problem(case.config, case.facts)
    if problem is None:
        return None
    return make_trap_finding(problem.what, problem.hint, {"training.optimizer": "adamw"}, serious=True)
