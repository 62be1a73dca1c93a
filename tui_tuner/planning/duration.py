"""How long a run takes and what it costs: steps, tokens, arithmetic, time and money, with a range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _, _n
from tui_tuner.models.architectures.heads import SPAN, TEXT
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts, steps_of
from tui_tuner.planning.flops import flops_of
from tui_tuner.planning.gpus import Card
from tui_tuner.planning.heads.outputs import head_of
from tui_tuner.planning.memory.stack import installed
from tui_tuner.planning.speed.rates import step_words
from tui_tuner.planning.speed.step import Clock
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.planning.throughput import Speed  # reads journals, which most questions do without


@dataclass(frozen=True)
class Work:
    """What a run has to do. `formula` says how `flops` came about; tokens are None where nobody counted."""

    steps: int
    tokens: int
    supervised: int | None
    flops: float
    formula: str


@dataclass(frozen=True)
class Duration:
    """Seconds with a range, and money; None where there is nothing to go by. `basis` says on what."""

    work: Work
    seconds: float | None
    low: float | None
    high: float | None
    cost: float | None
    cost_high: float | None
    basis: str


def steps_in(config: RunConfig, rows: int) -> int:
    """Optimizer steps of a run over so many training rows."""
    training = config.training
    return steps_of(rows, training.batch_size, training.epochs, training.max_steps)


def work_of(config: RunConfig, facts: ModelFacts, data: DataFacts) -> Work:
    """Steps, tokens and floating-point operations (`planning.flops`, and those of recomputation).

    Rows are taken to be of their mean length. Where nobody counted trained tokens, all count as trained.
    """
    steps = steps_in(config, data.rows)
    share = steps / math.ceil(max(1, data.rows) / config.training.batch_size)  # epochs
    rows, per_row = share * data.rows, data.mean or float(config.data.max_length)
    tokens = round(rows * per_row)
    supervised = round(share * data.supervised) if data.supervised is not None else None
    cost = flops_of(facts, config.method, head=head_of(config, facts, data))
    row = [min(per_row, config.data.max_length)]
    targets = tokens if supervised is None else supervised
    once = {TEXT: 1, SPAN: 2}.get(config.task_kind.decides)
    if supervised is None and once is not None:
        targets = round(rows) * once
    layers = rows * cost.step(row, 0)
    again = rows * cost.recomputed(row, config.training.gradient_checkpointing)
    said: dict[str, Any] = {
        "weights": cost.weights,
        "tokens": tokens,
        "layers": layers,
        "head": targets * cost.target,
        "targets": targets,
    }
    if again:
        formula = _(
            "{layers:.3g} in the layers ({weights:,} weights a token, {tokens:,} tokens) + {head:.3g} in the "
            "head ({targets:,} trained tokens) + {again:.3g} computed twice",
            again=again,
            **said,
        )
    else:
        formula = _(
            "{layers:.3g} in the layers ({weights:,} weights a token, {tokens:,} tokens) + {head:.3g} in the "
            "head ({targets:,} trained tokens)",
            **said,
        )
    return Work(steps, tokens, supervised, layers + targets * cost.target + again, formula)


def duration_of(
    config: RunConfig,
    facts: ModelFacts,
    data: DataFacts,
    *,
    card: Card | None = None,
    tokens_per_second: float | None = None,
    speed: Speed | None = None,
) -> Duration:
    """Time and money of a run.

    Args:
        card: The GPU, whose measured speed or data sheet gives a wide range (`speed.step`).
        tokens_per_second: A measured throughput, all devices together; it gives a narrow one.
        speed: The same from a run of this kind on this machine.
    """
    work = work_of(config, facts, data)
    if tokens_per_second and tokens_per_second > 0:
        middle = work.tokens / tokens_per_second
        return _priced(config, work, middle, middle * 0.9, middle * 1.15, _("measured throughput"))
    if speed is not None:
        middle = work.tokens / speed.tokens_per_second
        basis = _(
            "{speed:,.0f} tokens/s that run {run} reached here", speed=speed.tokens_per_second, run=speed.run
        )
        return _priced(config, work, middle, middle * 0.85, middle * 1.3, basis)
    if card is None or (not card.tflops and card.rates is None):
        return Duration(work, None, None, None, None, None, _nothing(card))
    return _predicted(config, facts, data, card, work)


def _predicted(config: RunConfig, facts: ModelFacts, data: DataFacts, card: Card, work: Work) -> Duration:
    """By the model of a step's time, with the span of what machines differ by."""
    from tui_tuner.planning.estimate import resolve_for, setup_for  # which plan without a duration, too

    stack = installed()
    made = config if isinstance(config, ResolvedConfig) else None
    made = made or resolve_for(config, facts, card, stack, data).config
    clock = Clock(made, setup_for(made, facts, stack, card, data), card, data)
    low, middle, high = clock.span(made.training.micro_batch, made.training.gradient_checkpointing)
    said = {"card": one_line(card.name), "time": step_words(middle)}
    if card.rates is not None:
        basis = _("{time} a step predicted, by the speed of {card} as measured here", **said)
    else:
        basis = _(
            "{time} a step predicted, by the data sheet of {card}: {speed:g} TFLOP/s",
            speed=card.tflops,
            **said,
        )
    steps = work.steps
    return _priced(config, work, steps * middle, steps * low, steps * high, basis)


def _nothing(card: Card | None) -> str:
    """Why there is no time."""
    if card is None or card.cpu:
        return _("no run of this kind was timed on this machine; the first steps of one will tell")
    return _("the speed of {card} is not in the table; name a GPU instead", card=card.name)


@dataclass(frozen=True)
class Outlook:
    """Seconds of a whole run with a range, as its own steps tell."""

    seconds: float
    low: float
    high: float
    basis: str


def corrected(total: int, done: int, spent: float, pace: float, steps: int, apart: float = 0.0) -> Outlook:
    """Time of a run under way.

    Args:
        total: Optimizer steps of the run. done: Of these.
        spent: Seconds of training so far.
        pace: Seconds that a step takes.
        steps: Steps that the pace rests on; what is left is sure to within a quarter by their square root.
        apart: Seconds of the evaluations and checkpoints to come.
    """
    left = pace * max(0, total - done) + apart
    spread = 0.25 / math.sqrt(max(1, steps)) * left
    middle = spent + left
    return Outlook(
        middle,
        middle - spread,
        middle + spread,
        _n("{steps} step of this run", "{steps} steps of this run", steps, steps=steps),
    )


def price_of(config: RunConfig, seconds: float) -> float | None:
    """What so many seconds of the machine cost; None without a price."""
    price = config.hardware.price_per_hour
    return None if price is None else seconds / 3600 * price


def _priced(config: RunConfig, work: Work, middle: float, low: float, high: float, basis: str) -> Duration:
    return Duration(work, middle, low, high, price_of(config, middle), price_of(config, high), basis)
