"""Traps of tasks that train a new head."""

from __future__ import annotations

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.locales import _
from tui_tuner.planning.traps.findings import Advice, Case, make_trap_finding, register_trap


@register_trap
def no_such_head(case: Case) -> Advice | None:
    """Find architectures for which transformers has no class with the head."""
    facts, kind = case.facts, case.config.task_kind
    if facts is None or not kind.decides or kind.decides not in facts.family.no_heads:
        return None
    return make_trap_finding(
        _(
            "{model_type} has no head for task {task} in transformers.",
            model_type=facts.model_type,
            task=kind.name,
        ),
        _("The model cannot be loaded for it: choose another architecture, such as bert, qwen2 or llama."),
        serious=True,
    )


@register_trap
def no_masked_head(case: Case) -> Advice | None:
    """Find models that predict the next token, in tasks that guess hidden ones."""
    facts, kind = case.facts, case.config.task_kind
    if facts is None or not kind.hides or facts.encoder or not facts.verified:
        return None
    return make_trap_finding(
        _("{model_type} has no head that guesses hidden tokens.", model_type=facts.model_type),
        _("Take an encoder such as distilbert-base-uncased, or let this model predict the next token."),
        {"task": "pretraining"},
        serious=True,
    )


@register_trap
def no_prefix(case: Case) -> Advice | None:
    """Find encoders that accept no prefix."""
    facts, method = case.facts, case.config.method
    if facts is None or not method.has_trait(Trait.PREFIX) or facts.family.takes_prefix:
        return None
    return make_trap_finding(
        _("{model_type} does not accept keys and values from outside.", model_type=facts.model_type),
        _("Prefix tuning has nowhere to put its prefix; prompt_tuning puts virtual tokens before the text."),
        {"method.kind": "prompt_tuning"},
        serious=True,
    )


@register_trap
def random_body(case: Case) -> Advice | None:
    """Find random weights that are not trained."""
    config = case.config
    # Adapters on random weights are refused when a config is read, so they need no finding here
    trained = config.method.has_trait(Trait.WHOLE_MODEL) or config.method.has_trait(Trait.ADAPTER)
    if config.model.architecture is None or trained:
        return None
    return make_trap_finding(
        _("the model has random weights, and most of them are not trained."),
        _("The top layers can only use what the layers below have already learned."),
        {"method.kind": "full"},
        serious=True,
    )


@register_trap
def writes_and_decides(case: Case) -> Advice | None:
    """Find encoders in tasks that generate text."""
    facts, kind = case.facts, case.config.task_kind
    if facts is None or not facts.encoder or not kind.writes or kind.encoder_decoder:
        return None
    return make_trap_finding(
        _("{model_type} is an encoder and cannot generate text.", model_type=facts.model_type),
        _("Task {task} needs a model that generates text, such as llama or qwen2.", task=kind.name),
        serious=True,
    )
