"""Traps of tasks in which a new head decides."""

from __future__ import annotations

from tui_tuner.locales import _
from tui_tuner.planning.traps.findings import Advice, Case, found, trap


@trap
def no_such_head(case: Case) -> Advice | None:
    """Architectures for which transformers has no class with the head."""
    facts, kind = case.facts, case.config.task_kind
    if facts is None or not kind.decides or kind.decides not in facts.family.no_heads:
        return None
    return found(
        _(
            "{model_type} has no head for task {task} in transformers.",
            model_type=facts.model_type,
            task=kind.name,
        ),
        _("The model cannot be loaded for it: choose another architecture, such as bert, qwen2 or llama."),
        serious=True,
    )


@trap
def no_prefix(case: Case) -> Advice | None:
    """Encoders that prefix tuning cannot reach."""
    facts, method = case.facts, case.config.method
    if facts is None or method.kind != "prefix_tuning" or facts.family.takes_prefix:
        return None
    return found(
        _("{model_type} takes no keys and values from outside.", model_type=facts.model_type),
        _("Prefix tuning has nowhere to put its prefix; prompt_tuning puts virtual tokens before the text."),
        {"method.kind": "prompt_tuning"},
        serious=True,
    )


@trap
def random_body(case: Case) -> Advice | None:
    """Random weights that nothing trains; adapters beside such are refused when a config is read."""
    config = case.config
    if config.model.architecture is None or config.method.kind != "freeze":
        return None
    return found(
        _("the model has random weights, and most of them are left as they are."),
        _("The layers above can only use what those below have learnt before."),
        {"method.kind": "full"},
        serious=True,
    )


@trap
def writes_and_decides(case: Case) -> Advice | None:
    """An encoder asked to write."""
    facts, kind = case.facts, case.config.task_kind
    if facts is None or not facts.encoder or not kind.writes:
        return None
    return found(
        _("{model_type} reads texts and cannot write any.", model_type=facts.model_type),
        _("Task {task} needs a model that writes, such as llama or qwen2.", task=kind.name),
        serious=True,
    )
