"""Traps of models with an encoder and a decoder, and of tasks that need one."""

from __future__ import annotations

from tui_tuner.config.advice import build_hint, write_setting
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.schema import RunConfig
from tui_tuner.errors import ModelError, TunerError
from tui_tuner.locales import N_, _
from tui_tuner.models.facts import ModelFacts, load_facts
from tui_tuner.planning.traps.findings import Advice, Case, make_trap_finding, register_trap
from tui_tuner.text import one_line

_REWRITING = next(kind.name for kind in TASKS.values() if kind.encoder_decoder)


def find_suiting_task(facts: ModelFacts, task: str) -> str:
    """Return the task that suits a model if this one does not, by its stacks of layers; empty if it does."""
    kind = TASKS[task]
    if facts.source is not None:
        return "" if kind.encoder_decoder else _REWRITING
    # An architecture that nobody has measured may have two stacks all the same.
    if not kind.encoder_decoder or not facts.verified:
        return ""
    return "classification" if facts.encoder else "sft"


def describe_stacks(facts: ModelFacts) -> str:
    """Describe a model that does not suit a task, by its stacks."""
    said = {"model_type": one_line(facts.model_type, 60)}
    if facts.source is not None:
        return _("{model_type} has an encoder and a decoder, which this task does not train.", **said)
    if facts.encoder:
        return _("{model_type} is an encoder and has no decoder to write with.", **said)
    return _("{model_type} has a decoder only and no encoder to read with.", **said)


@register_trap
def wrong_stacks(case: Case) -> Advice | None:
    """Find models that lack a stack of layers which the task needs, or have one that it does not train."""
    facts = case.facts
    better = find_suiting_task(facts, case.config.task) if facts is not None else ""
    if facts is None or not better:
        return None
    if facts.source is not None:
        why = _("Its encoder reads texts and its decoder writes others.")
    else:
        why = _("The task needs both: take a model such as t5-small, flan-t5-base or bart-base.")
    return make_trap_finding(describe_stacks(facts), why, {"task": better}, serious=True)


def check_stacks(config: RunConfig) -> None:
    """Check that a model has the stacks of layers that the task trains, from its config.json alone.

    Raises:
        ModelError: it has others.
    """
    try:
        facts = load_facts(config.model, network=False)
    # Loading reports what is wrong with the model.
    except (TunerError, ImportError, OSError):
        return
    field = "model.name" if config.model.architecture is None else "model.architecture"
    kind = config.task_kind
    if facts.encoder and facts.verified and kind.writes and not kind.encoder_decoder:
        raise ModelError(
            _(
                "{model_type} is an encoder and cannot generate text.",
                model_type=one_line(facts.model_type, 60),
            ),
            where=one_line(config.model.name),
            hint=build_hint(
                N_(
                    "Take a model that generates text, such as llama or qwen2, or train this one with "
                    "{command}.",
                    command=write_setting({"task": "classification"}),
                )
            ),
            field=field,
        )
    better = find_suiting_task(facts, config.task)
    if better:
        command = write_setting({"task": better})
        if facts.source is not None:
            hint = build_hint(N_("Train it with {command}.", command=command))
        else:
            hint = build_hint(
                N_(
                    "Take a model such as t5-small, flan-t5-base or bart-base, or train this one with "
                    "{command}.",
                    command=command,
                )
            )
        raise ModelError(
            describe_stacks(facts),
            where=one_line(config.model.name),
            hint=hint,
            field=field,
        )
