"""The model of a run, with its method attached, ready to be trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from transformers import set_seed

from tui_tuner.compute import attention, low_rank
from tui_tuner.compute.gradient_checkpointing import checkpoint_layers
from tui_tuner.compute.numeric import matmul_precision
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.errors import ModelError, OutOfMemoryError
from tui_tuner.locales import _
from tui_tuner.methods import attach, trainable_parameters
from tui_tuner.models.device import Device
from tui_tuner.tasks import Task
from tui_tuner.training.step.recovery import Recovery
from tui_tuner.training.watching.reporting import Reporter


def load_trainable(
    config: ResolvedConfig,
    device: Device,
    tokenizer: Any,
    task: Task,
    learned: Mapping[str, Any],
    reporter: Reporter,
    recovery: Recovery,
) -> Any:
    """Load the base model and attach the method to it.

    Args:
        learned: What the task's encoder found out about the data.

    Raises:
        OutOfMemoryError: the model does not fit.
        ModelError: it is damaged, or does not belong to the tokenizer.
    """
    reporter.phase("loading", note=_("model"))
    _set_numerics(config, device)
    attention.register()
    try:
        recovery.enter("loading")
        model = load_base(config, device.place, tokenizer, task, learned)
    except Exception as error:
        if not recovery.is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            _("memory ran out while the model was loaded."),
            where="model",
            hint=_("Quantise it (model.quantization: nf4), or choose a smaller one."),
        ) from error
    check_vocabulary(model, tokenizer)
    model = attach_method(model, config, task)
    low_rank.quicken(model)
    if config.training.gradient_checkpointing:
        checkpoint_layers(model)
    trained, total = trainable_parameters(model)
    reporter.log(
        _(
            "{trained:,} of {total:,} parameters are trained ({share:.2%}).",
            trained=trained,
            total=total,
            share=trained / total,
        )
    )
    return model


def load_base(
    config: ResolvedConfig, device: str, tokenizer: Any, task: Task, learned: Mapping[str, Any]
) -> Any:
    """The base model as a run begins with it."""
    set_seed(config.training.seed)  # a new head is random, and must be the same whenever the run is continued
    model = task.load(config, device, tokenizer, learned)
    task.finish_model(model, learned)
    return model


def attach_method(model: Any, config: ResolvedConfig, task: Task) -> Any:
    """The base model with the run's method, whose own random numbers are the same each time."""
    set_seed(config.training.seed)
    return attach(model, config, task.peft_type)


def _set_numerics(config: ResolvedConfig, device: Device) -> None:
    if config.training.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.training.deterministic)
    torch.set_float32_matmul_precision(matmul_precision(device, config))


def check_vocabulary(model: Any, tokenizer: Any) -> None:
    """Raise `ModelError` if the tokenizer has ids that the model's embeddings have not."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            _(
                "the tokenizer has {tokenizer} tokens, the model only {rows}.",
                tokenizer=len(tokenizer),
                rows=rows,
            ),
            where="model.tokenizer",
            hint=_("Use the tokenizer that belongs to the model."),
        )
