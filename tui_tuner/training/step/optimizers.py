"""Create the optimizer that `training.optimizer` names, for the weights that are trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import Embedding, LayerNorm

from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.models.device import Device
from tui_tuner.training.step.adafactor import Adafactor

if TYPE_CHECKING:
    from torch.nn import Module, Parameter
    from torch.optim import Optimizer

ADAM_EPSILON = 1e-8
# The patterns of transformers' Trainer (`get_decay_parameter_names`), which made the groups of version 0.1.
_NOT_DECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def create_optimizer(
    model: Module, config: ResolvedConfig, device: Device, trains_faster: Callable[[str], bool] | None = None
) -> Optimizer:
    """Create the run's optimizer; nothing is allocated for its states before the first step.

    Args:
        trains_faster: Whether a parameter, by its name, learns at a multiple of the rate
            (`Method.trains_faster`).
    """
    training = config.training
    groups = group_parameters(model, training.weight_decay)
    rate = float(training.learning_rate)
    if training.lora_plus_ratio is not None and trains_faster is not None:
        groups = split_by_rate(model, groups, trains_faster, rate * training.lora_plus_ratio)
    betas = training.adam_beta1, training.adam_beta2
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate)
    if training.optimizer == "adafactor":
        return Adafactor(groups, lr=rate)
    if training.optimizer == "adamw":
        # None rather than False, which would also keep PyTorch from choosing `foreach`.
        fused = True if is_fused(device) else None
        return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=ADAM_EPSILON, fused=fused)
    return _create_8bit_adamw(model, groups, rate, betas, paged=training.optimizer.startswith("paged"))


def is_fused(device: Device) -> bool:
    """Return whether AdamW updates many tensors in one kernel, as it does on a GPU."""
    return device.kind == "cuda"


def group_parameters(model: Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two parameter groups: weights that decay, and biases and norms, which do not.

    The groups and the order in them decide which saved state belongs to which weight. Checkpoints of all
    versions hold them in this order, including an empty group.
    """
    norms = {
        f"{place}.{name}"
        for place, module in model.named_modules()
        if isinstance(module, LayerNorm)
        for name, _unused in module.named_parameters()
    }
    decayed: list[Parameter] = []
    others: list[Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kept = name in norms or _NOT_DECAYED.search(name.lower())
            (others if kept else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def split_by_rate(
    model: Module, groups: list[dict[str, Any]], trains_faster: Callable[[str], bool], rate: float
) -> list[dict[str, Any]]:
    """Return parameter groups with what trains faster in groups of its own behind the others (LoRA+)."""
    faster = {id(one) for name, one in model.named_parameters() if trains_faster(name)}
    if not faster:
        return groups
    found = []
    for chosen in (False, True):
        for group in groups:
            params = [one for one in group["params"] if (id(one) in faster) is chosen]
            found.append({**group, "params": params} | ({"lr": rate} if chosen else {}))
    # The first group, whose rate is shown, is never empty where anything trains at the plain rate
    return found[:2] + [group for group in found[2:] if group["params"]]


def _create_8bit_adamw(
    model: Module, groups: list[dict[str, Any]], rate: float, betas: tuple[float, float], paged: bool
) -> Optimizer:
    from bitsandbytes.optim import AdamW, GlobalOptimManager

    optimizer: Optimizer = AdamW(groups, lr=rate, betas=betas, eps=ADAM_EPSILON, optim_bits=8, is_paged=paged)
    # bitsandbytes advises 32 bits for embeddings: their gradients are sparse, and 8 bits make them unstable.
    manager = GlobalOptimManager.get_instance()
    for module in model.modules():
        if isinstance(module, Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})
    return optimizer
