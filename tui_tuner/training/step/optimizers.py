"""Create the optimizer that `training.optimizer` names, for the weights that are trained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import Embedding

from tui_tuner.config.kinds.optimizers import (
    FIELD,
    find_optimizer,
    refuse_matrices,
    require_optimizer,
)
from tui_tuner.config.resolved import ResolvedConfig
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.models.out_of_memory import is_out_of_memory
from tui_tuner.text import one_line
from tui_tuner.training.step.adafactor import Adafactor
from tui_tuner.training.step.groups import group_parameters, split_by_rate, take_matrices
from tui_tuner.training.step.joined import JoinedOptimizer
from tui_tuner.training.step.low_rank import Apollo, GaLore, LowRankAdamW

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

Groups = list[dict[str, Any]]
ADAM_EPSILON = 1e-8
LION_BETAS = 0.9, 0.99  # the paper's; those of AdamW mean something else


def create_optimizer(
    model: Module, config: ResolvedConfig, device: Device, trains_faster: Callable[[str], bool] | None = None
) -> Optimizer:
    """Create the run's optimizer; nothing is allocated for its states before the first step.

    Args:
        trains_faster: Whether a parameter, by its name, learns at a multiple of the rate
            (`Method.trains_faster`).

    Raises:
        ConfigError: its library is missing or does not support the device, or no trained weight suits it.
    """
    training = config.training
    require_optimizer(training.optimizer)
    groups = group_parameters(model, training.weight_decay)
    rate = float(training.learning_rate)
    if training.lora_plus_ratio is not None and trains_faster is not None:
        groups = split_by_rate(model, groups, trains_faster, rate * training.lora_plus_ratio)
    betas = training.adam_beta1, training.adam_beta2
    if find_optimizer(training.optimizer).for_matrices:
        return _join_with_adamw(model, groups, config, device)
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate)
    if training.optimizer == "adafactor":
        return Adafactor(groups, lr=rate)
    if training.optimizer == "adamw":
        return _create_adamw(groups, config, device)
    if training.optimizer == "schedule_free":
        from tui_tuner.training.step.averaging import ScheduleFree

        # `foreach` takes as much memory as the weights for a moment, and spares a GPU most launches
        return ScheduleFree(
            groups, lr=rate, betas=betas, eps=ADAM_EPSILON, foreach=is_optimizer_fused(device)
        )
    if training.optimizer == "lion":
        with _explain_absence(training.optimizer, device):
            from bitsandbytes.optim import Lion

        lion: Optimizer = Lion(groups, lr=rate, betas=LION_BETAS)
        return lion
    paged = training.optimizer.startswith("paged")
    with _explain_absence(training.optimizer, device):
        _try_8bit_step(device)
        return _create_8bit_adamw(model, groups, rate, betas, paged)


def is_optimizer_fused(device: Device) -> bool:
    """Return whether AdamW updates many tensors in one kernel, as it does on a GPU."""
    return device.kind == "cuda"


def _create_adamw(groups: Groups, config: ResolvedConfig, device: Device) -> Optimizer:
    training = config.training
    betas = training.adam_beta1, training.adam_beta2
    # None rather than False, which would also keep PyTorch from choosing `foreach`.
    fused = True if is_optimizer_fused(device) else None
    return torch.optim.AdamW(
        groups, lr=float(training.learning_rate), betas=betas, eps=ADAM_EPSILON, fused=fused
    )


def _join_with_adamw(model: Module, groups: Groups, config: ResolvedConfig, device: Device) -> Optimizer:
    """Create an optimizer for the matrices of the layers, joined with AdamW for all other weights."""
    training = config.training
    least = find_optimizer(training.optimizer).find_least_side(training.optimizer_rank)
    matrices, others = take_matrices(model, groups, least)
    if not matrices:
        raise refuse_matrices(training.optimizer, training.optimizer_rank)
    own = _create_matrix_optimizer(matrices, config, float(training.learning_rate))
    return JoinedOptimizer([own, _create_adamw(others, config, device)])


def _create_matrix_optimizer(matrices: Groups, config: ResolvedConfig, rate: float) -> Optimizer:
    training = config.training
    if training.optimizer == "muon":
        # Scaled to the root mean square of AdamW's steps, so that one rate suits both
        return torch.optim.Muon(matrices, lr=rate, adjust_lr_fn="match_rms_adamw")
    kinds: dict[str, type[LowRankAdamW]] = {"galore": GaLore, "apollo": Apollo}
    betas = training.adam_beta1, training.adam_beta2
    return kinds[training.optimizer](
        matrices, rate, betas, training.optimizer_rank, training.optimizer_interval
    )


def _create_8bit_adamw(
    model: Module, groups: list[dict[str, Any]], rate: float, betas: tuple[float, float], paged: bool
) -> Optimizer:
    from bitsandbytes.optim import AdamW, GlobalOptimManager

    optimizer: Optimizer = AdamW(groups, lr=rate, betas=betas, eps=ADAM_EPSILON, optim_bits=8, is_paged=paged)
    # bitsandbytes advises 32 bits for embeddings: their gradients are sparse, and 8 bits make them unstable.
    manager = GlobalOptimManager.get_instance()
    # It would apply what an earlier run of this process told it to weights at the same places, and hold on to
    # that run's model.
    manager.initialize()
    for module in model.modules():
        if isinstance(module, Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})
    return optimizer


def _try_8bit_step(device: Device) -> None:
    """Take an 8-bit step with a small weight; raises if bitsandbytes has no code for the device."""
    from bitsandbytes.optim import AdamW

    # Smaller ones keep 32-bit states, which bitsandbytes has for every device
    weight = torch.nn.Parameter(torch.zeros(4096, device=device.torch_name))
    weight.grad = torch.zeros_like(weight)
    AdamW([weight], optim_bits=8).step()


@contextlib.contextmanager
def _explain_absence(name: str, device: Device) -> Iterator[None]:
    """Turn what bitsandbytes raises where it does not work into an error that names the field."""
    try:
        yield
    except (ImportError, NotImplementedError, RuntimeError, OSError) as error:
        if is_out_of_memory(error):
            raise
        raise ConfigError(
            _(
                "bitsandbytes has no {optimizer} for {device}: {problem}",
                optimizer=name,
                device=device.name or device.kind,
                problem=one_line(error, 200),
            ),
            where=FIELD,
            hint=_("Use adamw, or adafactor if memory is short."),
            field=FIELD,
        ) from error
