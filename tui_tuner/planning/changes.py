"""Single settings that save memory, and which of them go together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from tui_tuner.config.kinds.method_kind import Trait
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.schema import RunConfig
from tui_tuner.config.sections.training import DEGREES, EVERY_SECOND, OFFLOAD
from tui_tuner.locales import _
from tui_tuner.planning.gpus import Card

Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True)
class Change:
    """One setting: `{path: value}` in a config, with what it is called and what it costs."""

    path: str
    value: Any
    label: str
    quality: int  # 0: the same result; 1: nearly; 2: another method or other data


def list_saving_changes(config: RunConfig, card: Card | None = None) -> list[Change]:
    """Return single changes that can save memory, those that change the result least first."""
    training, model, method = config.training, config.model, config.method
    found = []
    if training.loss == "full_logits":
        found.append(Change("training.loss", "auto", _("logits of trained tokens only"), 0))
    if model.attention == "eager":
        found.append(Change("model.attention", "sdpa", _("fused attention"), 0))
    if not (config.data.packing or method.prompt_length or config.task_kind.encoder_decoder):
        found.append(Change("data.packing", True, _("packing"), 0))
    if isinstance(training.micro_batch, int) and training.micro_batch > 1:
        # The largest smaller divisor, so that a step still consists of equal passes
        half = max(n for n in range(1, training.micro_batch) if training.micro_batch % n == 0)
        found.append(Change("training.micro_batch", half, _("micro-batch {size}", size=half), 0))
        if half > 1:
            found.append(Change("training.micro_batch", 1, _("micro-batch {size}", size=1), 0))
    gpu = card is None or not card.cpu
    if method.has_trait(Trait.CHECKPOINTABLE):
        found += _less_kept(training.gradient_checkpointing, gpu)
    # 8-bit states need bitsandbytes' CUDA kernels
    if training.optimizer == "adamw" and gpu:
        found.append(Change("training.optimizer", "adamw_8bit", _("8-bit AdamW"), 1))
        found.append(Change("training.optimizer", "paged_adamw_8bit", _("paged 8-bit AdamW"), 1))
    # Cards before Ampere only emulate bfloat16
    narrow = "bfloat16" if card is None or card.cpu or card.compute_device.has_bf16 else "float16"
    if model.dtype == "float32" and (narrow == "bfloat16" or method.has_trait(Trait.ADAPTER)):
        found.append(Change("model.dtype", narrow, _("{dtype} weights", dtype=narrow), 1))
    if method.has_trait(Trait.QUANTISABLE) and model.quantization == "none" and gpu:
        found.append(Change("model.quantization", "nf4", _("4-bit weights (QLoRA)"), 1))
    if method.has_trait(Trait.RANKED) and method.rank > 8:
        found.append(Change("method.rank", 8, _("rank 8"), 1))
    if config.data.max_length > 256:
        half = config.data.max_length // 2
        limit = config.limit_sequences(half)
        found.append(Change(*limit, _("sequences of {length} tokens", length=half), 2))
    # Random weights cannot be adapted, so no other method is proposed for them
    if not method.has_trait(Trait.ADAPTER) and model.architecture is None:
        found.append(Change("method.kind", "lora", _("LoRA"), 2))
    return found


def _less_kept(degree: Any, gpu: bool) -> list[Change]:
    """Return the degrees of checkpointing that keep less on the device; offloading only helps a GPU."""
    path = "training.gradient_checkpointing"
    found = [
        Change(path, EVERY_SECOND, _("checkpointing of every second layer"), 0),
        Change(path, True, _("gradient checkpointing"), 0),
        Change(path, OFFLOAD, _("checkpointing with offloading"), 0),
    ]
    place = DEGREES.index(degree) if degree in DEGREES else 0
    return found[place : None if gpu else -1]


def apply_saving_changes(config: Config, changes: tuple[Change, ...]) -> Config:
    """Return the config with these changes, unvalidated: only for those of `list_saving_changes`."""
    for change in changes:
        section, _unused, name = change.path.partition(".")
        # Not validated again: a search makes thousands of configs, and these values are known to be valid
        part = getattr(config, section).model_copy(update={name: change.value})
        config = config.model_copy(update={section: part})
    if config.task_kind.encoder_decoder:
        config = config.model_copy(update={"data": config.data.sum_both_sides()})
    return config


def _go_together(config: RunConfig, group: tuple[Change, ...]) -> bool:
    """Return whether the changes go together: 4-bit weights need a method that works with them."""
    paths = {change.path: change.value for change in group}
    kind = paths.get("method.kind", config.method.kind)
    return "model.quantization" not in paths or METHODS[kind].has_trait(Trait.QUANTISABLE)


def group_saving_changes(
    config: RunConfig, changes: list[Change], count: int
) -> Iterator[tuple[Change, ...]]:
    """Yield every group of `count` changes that go together."""
    for group in itertools.combinations(changes, count):
        if len({change.path for change in group}) == count and _go_together(config, group):
            yield group
