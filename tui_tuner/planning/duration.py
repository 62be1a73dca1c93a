"""Duration and cost of a run: steps, tokens, arithmetic, time and money, with a range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.config.schema import RunConfig
from tui_tuner.locales import _, _n
from tui_tuner.models.architectures.heads import SPAN, TEXT
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts, count_optimizer_steps, measure_mean_sides
from tui_tuner.planning.flops import Flops, Segment, count_flops
from tui_tuner.planning.gpus import Card
from tui_tuner.planning.heads.outputs import find_trained_head
from tui_tuner.planning.memory.stack import find_installed_stack
from tui_tuner.planning.speed.speed_rates import format_step_time
from tui_tuner.planning.speed.step_time import Clock
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from tui_tuner.planning.throughput import Speed  # reads journals, which most questions do without


@dataclass(frozen=True)
class Work:
    """The work of a run. `formula` shows how `flops` was computed; tokens are None if not counted.

    Where rows have a source and a target, `tokens` counts both (`sided`), and so do tokens a second.
    """

    steps: int
    tokens: int
    supervised: int | None
    flops: float
    formula: str
    sided: bool = False


@dataclass(frozen=True)
class Duration:
    """Seconds with a range, and money; None if nothing is known. `basis` names what they rest on."""

    work: Work
    seconds: float | None
    low: float | None
    high: float | None
    cost: float | None
    cost_high: float | None
    basis: str


def count_run_steps(config: RunConfig, rows: int) -> int:
    """Count the optimizer steps of a run over so many training rows."""
    training = config.training
    return count_optimizer_steps(rows, training.batch_size, training.epochs, training.max_steps)


def count_run_work(config: RunConfig, facts: ModelFacts, data: DataFacts) -> Work:
    """Count steps, tokens and floating-point operations (`planning.flops`, plus those of recomputation).

    Every row counts as one of mean length. Unless trained tokens were counted, all count as trained.
    """
    steps = count_run_steps(config, data.rows)
    # Epochs, from the steps: `max_steps` may end a run within one
    share = steps / math.ceil(max(1, data.rows) / config.training.batch_size)  # epochs
    rows, per_row = share * data.rows, data.mean_tokens or float(config.data.max_length)
    tokens = round(rows * per_row)
    supervised = round(share * data.supervised) if data.supervised is not None else None
    cost = count_flops(facts, config.method, head=find_trained_head(config, facts, data))
    row: list[float | Segment] = [min(per_row, config.data.max_length)]
    targets = round(tokens * config.trained_share) if supervised is None else supervised
    # A head over a whole text has one target for each row, a span two, whatever its length
    once = {TEXT: 1, SPAN: 2}.get(config.task_kind.decides)
    if supervised is None and once is not None:
        targets = round(rows) * once
    if facts.source is not None and config.task_kind.encoder_decoder:
        source, target = measure_mean_sides(config, data)
        row = [Segment(target, source=source)]
        targets = round(rows * target) if supervised is None else supervised
    layers = rows * cost.count_step(row, 0)
    again = rows * cost.count_recomputed(row, config.training.gradient_checkpointing)
    formula = _write_formula(cost, tokens, targets, layers, again)
    sided = config.task_kind.encoder_decoder
    return Work(steps, tokens, supervised, layers + targets * cost.target + again, formula, sided)


def _write_formula(cost: Flops, tokens: int, targets: int, layers: float, again: float) -> str:
    """Write how the operations of a run were counted."""
    said: dict[str, Any] = {
        "weights": cost.weights,
        "tokens": tokens,
        "layers": layers,
        "head": targets * cost.target,
        "targets": targets,
    }
    if cost.reading is not None:
        said |= {"read": cost.reading.weights, "sources": max(0, tokens - targets)}
        if again:
            return _(
                "{layers:.3g} in the layers (encoder: {read:,} weights per token, {sources:,} tokens of "
                "sources; decoder: {weights:,}, {targets:,} of targets) + {head:.3g} in the head + "
                "{again:.3g} recomputed",
                again=again,
                **said,
            )
        return _(
            "{layers:.3g} in the layers (encoder: {read:,} weights per token, {sources:,} tokens of sources; "
            "decoder: {weights:,}, {targets:,} of targets) + {head:.3g} in the head",
            **said,
        )
    if again:
        return _(
            "{layers:.3g} in the layers ({weights:,} weights per token, {tokens:,} tokens) + {head:.3g} "
            "in the head ({targets:,} trained tokens) + {again:.3g} recomputed",
            again=again,
            **said,
        )
    return _(
        "{layers:.3g} in the layers ({weights:,} weights per token, {tokens:,} tokens) + {head:.3g} "
        "in the head ({targets:,} trained tokens)",
        **said,
    )


def estimate_duration(
    config: RunConfig,
    facts: ModelFacts,
    data: DataFacts,
    *,
    card: Card | None = None,
    tokens_per_second: float | None = None,
    speed: Speed | None = None,
) -> Duration:
    """Estimate the time and cost of a run.

    Args:
        card: The GPU, whose measured speed or data sheet gives a wide range (`speed.step_time`).
        tokens_per_second: A measured throughput, all devices together; it gives a narrow one.
        speed: The same from a run of this kind on this machine.
    """
    work = count_run_work(config, facts, data)
    # The surest source first: a throughput of this run, then of a run like it, then a prediction
    if tokens_per_second and tokens_per_second > 0:
        middle = work.tokens / tokens_per_second
        # Steps of the same settings vary by about a tenth; another run of the same kind, by more
        return _add_price(config, work, middle, middle * 0.9, middle * 1.15, _("measured throughput"))
    if speed is not None:
        middle = work.tokens / speed.tokens_per_second
        basis = _(
            "{speed:,.0f} tokens/s that run {run} reached here", speed=speed.tokens_per_second, run=speed.run
        )
        return _add_price(config, work, middle, middle * 0.85, middle * 1.3, basis)
    if card is None or (not card.tflops and card.rates is None):
        return Duration(work, None, None, None, None, None, _explain_missing(card))
    return _predict_duration(config, facts, data, card, work)


def _predict_duration(
    config: RunConfig, facts: ModelFacts, data: DataFacts, card: Card, work: Work
) -> Duration:
    """Predict the duration from the model of a step's time, with the spread between machines."""
    from tui_tuner.planning.estimate import (  # which plan without a duration, too
        make_memory_setup,
        resolve_for_card,
    )

    stack = find_installed_stack()
    made = config if isinstance(config, ResolvedConfig) else None
    made = made or resolve_for_card(config, facts, card, stack, data).config
    clock = Clock(made, make_memory_setup(made, facts, stack, card, data), card, data)
    low, middle, high = clock.predict_span(made.training.micro_batch, made.training.gradient_checkpointing)
    said = {"card": one_line(card.name), "time": format_step_time(middle)}
    if card.rates is not None:
        basis = _("{time} per step predicted, from the speed of {card} as measured here", **said)
    else:
        basis = _(
            "{time} per step predicted, from the data sheet of {card}: {speed:g} TFLOP/s",
            speed=card.tflops,
            **said,
        )
    steps = work.steps
    return _add_price(config, work, steps * middle, steps * low, steps * high, basis)


def _explain_missing(card: Card | None) -> str:
    """Explain why no time can be given."""
    if card is None or card.cpu:
        return _("no similar run has been timed on this machine yet; the first steps of one will show it")
    return _("the speed of {card} is not in the table; name a GPU instead", card=card.name)


@dataclass(frozen=True)
class Outlook:
    """Seconds of a whole run with a range, extrapolated from its own steps."""

    seconds: float
    low: float
    high: float
    basis: str


def correct_duration(
    total: int, done: int, spent: float, pace: float, steps: int, apart: float = 0.0
) -> Outlook:
    """Return the time of a run that is in progress, from its own steps.

    Args:
        total: Optimizer steps of the run. done: Of these.
        spent: Seconds of training so far.
        pace: Seconds that a step takes.
        steps: Steps that the pace rests on; what is left is sure to within a quarter by their square root.
        apart: Seconds of the evaluations and checkpoints to come.
    """
    left = pace * max(0, total - done) + apart
    # Only the rest is uncertain: what is spent is known
    spread = 0.25 / math.sqrt(max(1, steps)) * left
    middle = spent + left
    return Outlook(
        middle,
        middle - spread,
        middle + spread,
        _n("{steps} step of this run", "{steps} steps of this run", steps, steps=steps),
    )


def compute_run_price(config: RunConfig, seconds: float) -> float | None:
    """Return the cost of so many seconds of the machine; None without a price."""
    price = config.hardware.price_per_hour
    return None if price is None else seconds / 3600 * price


def _add_price(config: RunConfig, work: Work, middle: float, low: float, high: float, basis: str) -> Duration:
    return Duration(
        work, middle, low, high, compute_run_price(config, middle), compute_run_price(config, high), basis
    )
