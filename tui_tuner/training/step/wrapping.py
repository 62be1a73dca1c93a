"""Place a model on its device, and wrap it if several processes train it together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel

from tui_tuner.training.ranks import Ranks

if TYPE_CHECKING:
    from torch.nn import Module


def place_model_on_device(model: Module, device: torch.device) -> None:
    """Move the parts of a model that are not on the device yet, such as a new head."""
    # Random states, and kernels of some libraries, use the current device.
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Quantised weights were loaded onto the device, and transformers refuses `to` for some kinds of them.
    if getattr(model, "quantization_method", None) is None:
        model.to(device)


def wrap_model_for_ranks(model: Module, device: torch.device, ranks: Ranks) -> Module:
    """Wrap a model so that each backward pass averages its gradients over the ranks; one rank needs none.

    Call it before the optimizer is created: other wrappers may replace the parameters.
    """
    if ranks.world == 1:
        return model
    ranks.join_group()
    devices = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices)


def skip_gradient_averaging(model: Module) -> contextlib.AbstractContextManager[Any]:
    """Let gradients add up on this rank only; the next backward pass outside averages them all."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return contextlib.nullcontext()
