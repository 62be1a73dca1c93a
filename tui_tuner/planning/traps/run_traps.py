"""Traps in lengths, rows, steps, evaluation and money."""

from __future__ import annotations

import math
from typing import Any

from tui_tuner.locales import _, _n
from tui_tuner.planning.data_facts import count_optimizer_steps
from tui_tuner.planning.traps.findings import Advice, Case, make_trap_finding, register_trap
from tui_tuner.text import format_money

FEW_ROWS = 50
FEW_STEPS = 20
MANY_EPOCHS = 20
FEW_HELD_OUT = 10
FEW_COMPILED = 500


@register_trap
def too_long(case: Case) -> Advice | None:
    data, facts, virtual = case.config.data, case.facts, case.config.method.prompt_length
    # An encoder and a decoder count positions of their own
    two = case.config.task_kind.encoder_decoder
    sides = {"max_source": data.max_source, "max_target": data.max_target}
    side, length = max((sides if two else {"max_length": data.max_length}).items(), key=lambda one: one[1])
    if facts is None or not facts.max_positions or length + virtual <= facts.max_positions:
        return None
    # Virtual tokens take positions of the model as the text does
    room = facts.max_positions - virtual
    if virtual:
        text = _(
            "{field} {length} with {virtual} virtual tokens is beyond the {positions} positions of the "
            "model.",
            field=side,
            length=length,
            virtual=virtual,
            positions=facts.max_positions,
        )
    else:
        text = _(
            "{field} {length} is beyond the {positions} positions of the model.",
            field=side,
            length=length,
            positions=facts.max_positions,
        )
    return make_trap_finding(
        text,
        _("The model was never trained on such positions, and tables of learned positions end there."),
        {f"data.{side}": room} if room >= 8 else None,
        serious=True,
    )


@register_trap
def long_for_data(case: Case) -> Advice | None:
    data = case.config.data
    field, length, longest = "max_length", data.max_length, case.data.longest
    # A batch is as long as its longest source, and its longest target, rather than the sum of both
    if case.config.task_kind.encoder_decoder:
        field, length, longest = "max_source", data.max_source, case.data.longest_source or 0
    if not longest or data.packing is True or length <= 2 * longest:
        return None
    # Rounded up with room to spare, as later rows may be a little longer
    fitting = max(64, -(-longest // 64) * 64)
    if fitting >= length:
        return None
    return make_trap_finding(
        _(
            "{field} {length}, but the longest row has {longest} tokens.",
            field=field,
            length=length,
            longest=longest,
        ),
        _("Memory is reserved for rows of that length, so fewer fit into a pass."),
        {f"data.{field}": fitting},
    )


@register_trap
def logits(case: Case) -> Advice | None:
    training, facts = case.config.training, case.facts
    if facts is None or training.loss != "full_logits":
        return None
    rows = training.micro_batch if isinstance(training.micro_batch, int) else 1
    # Logits in float32, their log-softmax, and its gradient: 4 bytes each
    gib = 12 * facts.vocab * case.config.data.max_length * rows / 2**30
    if gib <= 4:
        return None
    return make_trap_finding(
        _("logits of all positions take about {gib:.0f} GiB at their peak.", gib=gib),
        _("This holds for evaluation too; the loss only needs the logits of trained tokens."),
        {"training.loss": "auto"},
    )


@register_trap
def few_rows(case: Case) -> Advice | None:
    if not 0 < case.data.rows < FEW_ROWS:
        return None
    return make_trap_finding(
        _n(
            "only {count} row to train on.",
            "only {count} rows to train on.",
            case.data.rows,
            count=case.data.rows,
        ),
        _("A model memorises so few within an epoch or two; a few hundred rows are a usable start."),
    )


@register_trap
def batch_over_rows(case: Case) -> Advice | None:
    batch, rows = case.config.training.batch_size, case.data.rows
    if not rows or batch <= rows:
        return None
    return make_trap_finding(
        _("a batch of {batch} is more than the {rows} rows.", batch=batch, rows=rows),
        _("Every step is then a whole epoch, and there are very few steps."),
        {"training.batch_size": max(1, rows // 8), **_smaller_micro(case, max(1, rows // 8))},
        serious=True,
    )


@register_trap
def few_steps(case: Case) -> Advice | None:
    training = case.config.training
    if not 0 < case.run_steps < FEW_STEPS or training.max_steps is not None:
        return None
    if training.batch_size > case.data.rows:
        return None  # reported by `batch_over_rows`
    # Halved only as often as needed: a small batch has noisier gradients
    smaller = training.batch_size
    while smaller > 1 and count_optimizer_steps(case.data.rows, smaller, training.epochs) < FEW_STEPS:
        smaller //= 2
    fix = {"training.batch_size": smaller, **_smaller_micro(case, smaller)}
    return make_trap_finding(
        _n("the run has {count} step.", "the run has {count} steps.", case.run_steps, count=case.run_steps),
        _("The learning rate must rise and fall within these steps; a smaller batch gives more of them."),
        fix if training.batch_size > 1 else None,
    )


def _smaller_micro(case: Case, batch: int) -> dict[str, Any]:
    """Return a fix for the micro-batch if a smaller batch does not allow the one that is set."""
    micro = case.config.training.micro_batch
    return {"training.micro_batch": batch} if isinstance(micro, int) and micro > batch else {}


@register_trap
def many_epochs(case: Case) -> Advice | None:
    training = case.config.training
    # With max_steps the number of passes is what the user counted out; documents bear many passes
    if training.max_steps is not None or training.epochs <= MANY_EPOCHS or case.config.task_kind.plain_text:
        return None
    return make_trap_finding(
        _("{epochs:g} passes over the same rows.", epochs=training.epochs),
        _("Answers are memorised after a few; 1 to 5 is usual. Watch the loss on held-out rows."),
        {"training.epochs": 3.0},
    )


@register_trap
def warmup(case: Case) -> Advice | None:
    warmup = case.config.training.warmup
    if warmup < 0.5:
        return None
    if case.run_steps:
        taken = round(warmup * case.run_steps)
        text = _("the warm-up takes {taken} of {steps} steps.", taken=taken, steps=case.run_steps)
    else:
        text = _("the warm-up takes {share:.0%} of the run.", share=warmup)
    return make_trap_finding(
        text,
        _("The learning rate falls as soon as it reaches its peak, or never reaches it."),
        {"training.warmup": 0.03},
        serious=warmup >= 1,
    )


@register_trap
def few_held_out(case: Case) -> Advice | None:
    held = case.data.validation_rows
    if not case.config.evaluation.early_stopping or not 0 < held < FEW_HELD_OUT:
        return None
    return make_trap_finding(
        _n(
            "early stopping relies on {count} held-out row.",
            "early stopping relies on {count} held-out rows.",
            held,
            count=held,
        ),
        _("The loss on so few rows is mostly noise, so the run would stop by chance."),
        {"data.validation": 0.1},
    )


@register_trap
def costly_evaluation(case: Case) -> Advice | None:
    """Find evaluations that take at least half as long as the training itself."""
    every, rows = case.config.evaluation.every, case.data.rows
    if not isinstance(every, int) or not case.run_steps or not rows or not case.data.validation_rows:
        return None
    evaluations = case.run_steps // every
    trained = case.run_steps * case.config.training.batch_size
    # A forward pass is a third of a step: there is no backward pass, which costs twice as much
    share = evaluations * case.data.validation_rows / 3 / trained
    if share < 0.5:
        return None
    return make_trap_finding(
        _(
            "evaluating every {every} steps takes about {share:.0%} of the training time.",
            every=every,
            share=share,
        ),
        _(
            "{validation_rows:,} held-out rows are read {evaluations:,} times.",
            validation_rows=case.data.validation_rows,
            evaluations=evaluations,
        ),
        {"evaluation.every": "auto"},
    )


@register_trap
def compiling(case: Case) -> Advice | None:
    """Find short runs that compile. The plan cannot include the compiler's time, which differs between
    machines and was not measured on this one."""
    if case.config.training.compile is not True or not 0 < case.run_steps < FEW_COMPILED:
        return None
    return make_trap_finding(
        _n(
            "layers are compiled before the first step of {steps}.",
            "layers are compiled before the first of {steps} steps.",
            case.run_steps,
            steps=case.run_steps,
        ),
        _("Compiling takes seconds to minutes and saves part of each step, so a short run gets slower."),
        {"training.compile": "auto"},
    )


@register_trap
def budget(case: Case) -> Advice | None:
    limit, duration = case.config.hardware.budget, case.duration
    if not limit or duration is None or duration.cost is None or duration.cost_high is None:
        return None
    if duration.cost_high <= limit:
        return None
    # Serious only if the expected cost is too high, not the upper end of its range
    over = duration.cost > limit
    return make_trap_finding(
        _(
            "the run costs about {cost}, up to {cost_high}, but the budget is {limit:g}.",
            cost=format_money(duration.cost),
            cost_high=format_money(duration.cost_high),
            limit=limit,
        ),
        _("The run is saved and stopped when the budget is spent, and can be resumed."),
        {"hardware.budget": float(math.ceil(duration.cost_high * 100) / 100)},
        serious=over,
    )
