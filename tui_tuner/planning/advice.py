"""Contradictions and known traps, said before the run; each with a reason and, where there is one, a fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tui_tuner.config.kinds import METHOD_FIELDS, METHODS, RANKED
from tui_tuner.config.options import options
from tui_tuner.config.schema import ADAPTERS, RunConfig
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.data_facts import DataFacts
from tui_tuner.planning.duration import steps_in
from tui_tuner.planning.learning_rate import customary

FEW_ROWS = 50


@dataclass(frozen=True)
class Advice:
    """One finding. `fix` is `{dotted path: value}`, to be applied with one key; None where none is sure."""

    code: str
    text: str
    reason: str
    fix: dict[str, Any] | None = None
    serious: bool = False


def advise(config: RunConfig, facts: ModelFacts | None = None, data: DataFacts | None = None) -> list[Advice]:
    """All findings, serious ones first."""
    found = [*_method(config), *_numbers(config, facts), *_length(config, facts, data)]
    if data is not None:
        found += _rows(config, data)
    return sorted(found, key=lambda advice: not advice.serious)


def _method(config: RunConfig) -> Iterator[Advice]:
    method = config.method
    yield from _unread(config)
    if method.kind in RANKED and method.kind != "rslora":
        scale = method.alpha / method.rank
        if not 0.5 <= scale <= 4:
            yield Advice(
                "lora_scale",
                f"alpha / rank is {scale:g}.",
                "The update is scaled by it, usually by 1 to 2; far from there the learning rate no longer "
                "means what it usually does.",
                {"method.alpha": float(2 * method.rank)},
            )
    if method.kind == "rslora" and method.alpha > 2 * method.rank:
        yield Advice(
            "rslora_scale",
            f"rsLoRA with alpha {method.alpha:g} scales by {method.alpha / method.rank**0.5:.1f}.",
            "It divides by the square root of the rank, so alpha near the rank is plenty.",
            {"method.alpha": float(method.rank)},
        )
    if method.kind in RANKED and method.rank > 256:
        yield Advice(
            "high_rank",
            f"rank {method.rank} trains nearly as much as full fine-tuning.",
            "Above 256 the adapter costs memory and speed without the simplicity of full fine-tuning.",
            {"method.rank": 64},
        )


def _unread(config: RunConfig) -> Iterator[Advice]:
    """Fields that were set and that the method does not read."""
    method = config.method
    fix = {}
    for path, option in options().items():
        section, _, name = path.partition(".")
        if section != "method" or name == "kind" or name in METHOD_FIELDS[method.kind]:
            continue
        if getattr(method, name) != option.default:
            fix[path] = option.default
    if fix:
        yield Advice(
            "unread_fields",
            f"{METHODS[method.kind].label} does not use {' and '.join(fix)}.",
            "That is for other methods, and changes nothing here.",
            fix,
        )


def _numbers(config: RunConfig, facts: ModelFacts | None) -> Iterator[Advice]:
    model, training = config.model, config.training
    if model.dtype == "float16" and facts is not None and facts.weights_dtype == "bfloat16":
        yield Advice(
            "float16",
            "float16 for a model that was trained in bfloat16.",
            "Its activations can exceed 65,504, the largest float16, and become infinite.",
            {"model.dtype": "bfloat16"},
            serious=True,
        )
    if model.dtype == "float16" and config.method.kind not in ADAPTERS:
        yield Advice(
            "float16_weights",
            "float16 weights are trained themselves.",
            "Small updates vanish and gradients underflow; mixed precision over float32 weights does not.",
            {"model.dtype": "float32"},
            serious=True,
        )
    if model.dtype == "bfloat16" and config.method.kind not in ADAPTERS:
        yield Advice(
            "bfloat16_weights",
            "bfloat16 weights are trained themselves.",
            "Updates below 1/256 of a weight are rounded away; float32 keeps them, at twice the memory.",
            {"model.dtype": "float32"},
        )
    if isinstance(training.learning_rate, float):
        usual = customary(config, facts.parameters if facts else None)
        rate = training.learning_rate
        if rate > 4 * usual.high or rate < usual.low / 10:
            side = "above" if rate > usual.high else "below"
            yield Advice(
                "learning_rate",
                f"learning rate {rate:g} is far {side} what is usual for {config.method.kind}.",
                f"Usual is {usual.low:g} to {usual.high:g} ({usual.source}).",
                {"training.learning_rate": usual.rate},
                serious=side == "above",
            )


def _length(config: RunConfig, facts: ModelFacts | None, data: DataFacts | None) -> Iterator[Advice]:
    length, virtual = config.data.max_length, config.method.prompt_length
    if facts is not None and facts.max_positions and length + virtual > facts.max_positions:
        more = f" with {virtual} virtual tokens" if virtual else ""
        room = facts.max_positions - virtual
        yield Advice(
            "too_long",
            f"max_length {length}{more} is beyond the {facts.max_positions} positions of the model.",
            "It has never seen such positions, and learnt position tables end there.",
            {"data.max_length": room} if room >= 8 else None,
            serious=True,
        )
    if data is not None and data.longest and length > 2 * data.longest and not config.data.packing:
        fitting = max(64, -(-data.longest // 64) * 64)
        if fitting < length:
            yield Advice(
                "long_for_data",
                f"max_length {length}, but the longest row has {data.longest} tokens.",
                "Memory is planned for rows that do not exist, so fewer fit side by side.",
                {"data.max_length": fitting},
            )
    full = config.training.loss == "full_logits"
    rows = config.training.micro_batch if isinstance(config.training.micro_batch, int) else 1
    if facts is not None and full:
        gib = 12 * facts.vocab * length * rows / 2**30
        if gib > 4:
            yield Advice(
                "logits",
                f"logits of all positions take about {gib:.0f} GiB at their peak.",
                "In evaluation as in training; the loss needs those of trained tokens only.",
                {"training.loss": "auto"},
            )


def _rows(config: RunConfig, data: DataFacts) -> Iterator[Advice]:
    training = config.training
    if 0 < data.rows < FEW_ROWS:
        yield Advice(
            "few_rows",
            f"only {data.rows} rows to train on.",
            "So few are learnt by heart within an epoch or two; a few hundred is a usable start.",
        )
    if data.rows and training.batch_size > data.rows:
        yield Advice(
            "batch_over_rows",
            f"a batch of {training.batch_size} is more than the {data.rows} rows.",
            "Every step is then a whole epoch, and there are very few steps.",
            {"training.batch_size": max(1, data.rows // 8)},
            serious=True,
        )
    if data.rows:
        steps = steps_in(config, data.rows)
        if steps < 20 and training.max_steps is None:
            yield Advice(
                "few_steps",
                f"the run has {steps} step{'' if steps == 1 else 's'}.",
                "The learning rate rises and falls within them; a smaller batch gives more.",
                {"training.batch_size": max(1, training.batch_size // 4)}
                if training.batch_size > 1
                else None,
            )
        if training.warmup >= 0.5:
            warm = round(training.warmup * steps)
            yield Advice(
                "warmup",
                f"the warm-up takes {warm} of {steps} steps.",
                "The rate reaches its peak only to fall at once, or never does.",
                {"training.warmup": 0.03},
                serious=training.warmup >= 1,
            )
    held = data.validation_rows
    if config.evaluation.early_stopping and 0 < held < 10:
        yield Advice(
            "few_held_out",
            f"early stopping judges by {held} held-out rows.",
            "Their loss is noise; the run stops by chance.",
            {"data.validation": 0.1},
        )
