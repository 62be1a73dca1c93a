"""Traps in lengths, rows, steps, evaluation and money."""

from __future__ import annotations

import math
from typing import Any

from tui_tuner.locales import _, _n
from tui_tuner.planning.data_facts import steps_of
from tui_tuner.planning.traps.findings import Advice, Case, found, trap
from tui_tuner.text import human_money

FEW_ROWS = 50
FEW_STEPS = 20
MANY_EPOCHS = 20
FEW_HELD_OUT = 10
FEW_COMPILED = 500


@trap
def too_long(case: Case) -> Advice | None:
    length, facts, virtual = case.config.data.max_length, case.facts, case.config.method.prompt_length
    if facts is None or not facts.max_positions or length + virtual <= facts.max_positions:
        return None
    room = facts.max_positions - virtual
    if virtual:
        text = _(
            "max_length {length} with {virtual} virtual tokens is beyond the {positions} positions of the "
            "model.",
            length=length,
            virtual=virtual,
            positions=facts.max_positions,
        )
    else:
        text = _(
            "max_length {length} is beyond the {positions} positions of the model.",
            length=length,
            positions=facts.max_positions,
        )
    return found(
        text,
        _("It has never seen such positions, and learnt position tables end there."),
        {"data.max_length": room} if room >= 8 else None,
        serious=True,
    )


@trap
def long_for_data(case: Case) -> Advice | None:
    length, longest = case.config.data.max_length, case.data.longest
    if not longest or case.config.data.packing is True or length <= 2 * longest:
        return None
    fitting = max(64, -(-longest // 64) * 64)
    if fitting >= length:
        return None
    return found(
        _("max_length {length}, but the longest row has {longest} tokens.", length=length, longest=longest),
        _("Memory is planned for rows that do not exist, so fewer fit side by side."),
        {"data.max_length": fitting},
    )


@trap
def logits(case: Case) -> Advice | None:
    training, facts = case.config.training, case.facts
    if facts is None or training.loss != "full_logits":
        return None
    rows = training.micro_batch if isinstance(training.micro_batch, int) else 1
    gib = 12 * facts.vocab * case.config.data.max_length * rows / 2**30
    if gib <= 4:
        return None
    return found(
        _("logits of all positions take about {gib:.0f} GiB at their peak.", gib=gib),
        _("In evaluation as in training; the loss needs those of trained tokens only."),
        {"training.loss": "auto"},
    )


@trap
def few_rows(case: Case) -> Advice | None:
    if not 0 < case.data.rows < FEW_ROWS:
        return None
    return found(
        _n(
            "only {count} row to train on.",
            "only {count} rows to train on.",
            case.data.rows,
            count=case.data.rows,
        ),
        _("So few are learnt by heart within an epoch or two; a few hundred is a usable start."),
    )


@trap
def batch_over_rows(case: Case) -> Advice | None:
    batch, rows = case.config.training.batch_size, case.data.rows
    if not rows or batch <= rows:
        return None
    return found(
        _("a batch of {batch} is more than the {rows} rows.", batch=batch, rows=rows),
        _("Every step is then a whole epoch, and there are very few steps."),
        {"training.batch_size": max(1, rows // 8), **_smaller_micro(case, max(1, rows // 8))},
        serious=True,
    )


@trap
def few_steps(case: Case) -> Advice | None:
    training = case.config.training
    if not 0 < case.steps < FEW_STEPS or training.max_steps is not None:
        return None
    if training.batch_size > case.data.rows:
        return None  # said by `batch_over_rows`
    smaller = training.batch_size
    while smaller > 1 and steps_of(case.data.rows, smaller, training.epochs) < FEW_STEPS:
        smaller //= 2
    fix = {"training.batch_size": smaller, **_smaller_micro(case, smaller)}
    return found(
        _n("the run has {count} step.", "the run has {count} steps.", case.steps, count=case.steps),
        _("The learning rate rises and falls within them; a smaller batch gives more."),
        fix if training.batch_size > 1 else None,
    )


def _smaller_micro(case: Case, batch: int) -> dict[str, Any]:
    """The micro-batch that a smaller batch allows, where one is set that it does not."""
    micro = case.config.training.micro_batch
    return {"training.micro_batch": batch} if isinstance(micro, int) and micro > batch else {}


@trap
def many_epochs(case: Case) -> Advice | None:
    training = case.config.training
    if training.max_steps is not None or training.epochs <= MANY_EPOCHS or case.config.task_kind.plain_text:
        return None
    return found(
        _("{epochs:g} passes over the same rows.", epochs=training.epochs),
        _("Answers are learnt by heart after a few; 1 to 5 is usual. Watch the loss on held-out rows."),
        {"training.epochs": 3.0},
    )


@trap
def warmup(case: Case) -> Advice | None:
    warmup = case.config.training.warmup
    if warmup < 0.5:
        return None
    if case.steps:
        taken = round(warmup * case.steps)
        text = _("the warm-up takes {taken} of {steps} steps.", taken=taken, steps=case.steps)
    else:
        text = _("the warm-up takes {share:.0%} of the run.", share=warmup)
    return found(
        text,
        _("The rate reaches its peak only to fall at once, or never does."),
        {"training.warmup": 0.03},
        serious=warmup >= 1,
    )


@trap
def few_held_out(case: Case) -> Advice | None:
    held = case.data.validation_rows
    if not case.config.evaluation.early_stopping or not 0 < held < FEW_HELD_OUT:
        return None
    return found(
        _n(
            "early stopping judges by {count} held-out row.",
            "early stopping judges by {count} held-out rows.",
            held,
            count=held,
        ),
        _("Their loss is noise; the run stops by chance."),
        {"data.validation": 0.1},
    )


@trap
def costly_evaluation(case: Case) -> Advice | None:
    """A forward pass over held-out rows takes about a third of a training step's time on as many."""
    every, rows = case.config.evaluation.every, case.data.rows
    if not isinstance(every, int) or not case.steps or not rows or not case.data.validation_rows:
        return None
    evaluations = case.steps // every
    trained = case.steps * case.config.training.batch_size
    share = evaluations * case.data.validation_rows / 3 / trained
    if share < 0.5:
        return None
    return found(
        _(
            "evaluation at every {every} steps takes about {share:.0%} of the time of training.",
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


@trap
def compiling(case: Case) -> Advice | None:
    """What the compiler costs at the start, which no figure of the plan holds: it differs from machine to
    machine and was not measured on this one."""
    if case.config.training.compile is not True or not 0 < case.steps < FEW_COMPILED:
        return None
    return found(
        _n(
            "layers are compiled before the first step of {steps}.",
            "layers are compiled before the first of {steps} steps.",
            case.steps,
            steps=case.steps,
        ),
        _("That takes from seconds to minutes and saves a share of each step: a short run gets slower."),
        {"training.compile": "auto"},
    )


@trap
def budget(case: Case) -> Advice | None:
    limit, duration = case.config.hardware.budget, case.duration
    if not limit or duration is None or duration.cost is None or duration.cost_high is None:
        return None
    if duration.cost_high <= limit:
        return None
    over = duration.cost > limit
    return found(
        _(
            "the run costs about {cost}, up to {cost_high}, and the budget is {limit:g}.",
            cost=human_money(duration.cost),
            cost_high=human_money(duration.cost_high),
            limit=limit,
        ),
        _("It is saved and stopped when that is spent, and can be resumed."),
        {"hardware.budget": float(math.ceil(duration.cost_high * 100) / 100)},
        serious=over,
    )
