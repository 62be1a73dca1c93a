"""What the LoRA family cannot do with a model's shapes, or with so few steps: said before the run."""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.sections.method import MethodSection
from tui_tuner.config.sections.name_patterns import (
    find_number,
    is_plain_name,
    list_expert_targets,
    list_unmatched,
)
from tui_tuner.errors import ConfigError
from tui_tuner.methods import find_method
from tui_tuner.methods.layers import refuse_experts, refuse_target
from tui_tuner.methods.numbers.target_names import list_fused_names
from tui_tuner.methods.refusals import refuse_rank
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.memory.method_fields import make_method_case
from tui_tuner.planning.traps.findings import Advice, Case, make_trap_finding, register_trap


def find_pattern_problem(method: MethodSection, facts: ModelFacts) -> ConfigError | None:
    """Return what is wrong with the names in patterns; regular expressions are left to the run."""
    if not facts.verified or facts.has_experts:
        return None
    # Those that get an adapter: a rank for any other would have no effect
    case = make_method_case(method, facts)
    known = sorted({linear.name.split(".")[-1] for linear in facts.layer_linears if case.adapts(linear)})
    for field in ("rank_pattern", "alpha_pattern"):
        if not method.reads_field(field):
            continue
        for key in list_unmatched(getattr(method, field), known):
            if is_plain_name(key) and key.isidentifier():
                return refuse_target(key, known, f"method.{field}")
    return None


def find_rank_problem(method: MethodSection, facts: ModelFacts) -> ConfigError | None:
    """Return what is wrong with a rank that no matrix with an adapter can hold."""
    if not method.has_trait(Trait.RANKED) or not facts.verified:
        return None
    case = make_method_case(method, facts)
    sides = {one.name: min(one.inputs, one.outputs) for one in facts.layer_linears if case.adapts(one)}
    for name, side in sides.items():
        reads = method.reads_field("rank_pattern")
        own = int(find_number(method.rank_pattern, name, 0)) if reads else 0
        strict = own or (method.reads_field("init") and method.init != "default")
        most, rank = side if strict else max(sides.values()), own or method.rank
        if rank > most:
            return refuse_rank(rank, most, name, "method.rank_pattern" if own else "method.rank", alone=True)
    return None


def find_expert_problem(method: MethodSection, facts: ModelFacts) -> ConfigError | None:
    """Return what is wrong with targets that stand for experts; longer names are left to the run."""
    if not method.reads_field("targets") or not facts.verified:
        return None
    known = list_fused_names(facts)
    for target in list_expert_targets(method.targets):
        if not facts.has_experts or (known and target.count(".") == 1 and target not in known):
            return refuse_experts(target, known)
    return None


def _make_serious(problem: ConfigError | None) -> Advice | None:
    return None if problem is None else make_trap_finding(problem.what, problem.hint, None, serious=True)


@register_trap
def rank_above_matrix(case: Case) -> Advice | None:
    if case.facts is None:
        return None
    problem = find_rank_problem(case.config.method, case.facts)
    return _make_serious(problem)


@register_trap
def no_such_name(case: Case) -> Advice | None:
    if case.facts is None:
        return None
    problem = find_pattern_problem(case.config.method, case.facts)
    problem = problem or find_expert_problem(case.config.method, case.facts)
    return _make_serious(problem)


@register_trap
def too_few_steps(case: Case) -> Advice | None:
    problem = find_step_problem(case)
    return _make_serious(problem)


def find_step_problem(case: Case) -> ConfigError | None:
    """Return what a method says of a run of so few steps."""
    steps = case.run_steps or case.config.training.max_steps
    if not steps:
        return None
    method = case.config.method
    try:
        find_method(method.kind).check_steps(method, steps)
    except ConfigError as error:
        return error
    return None
