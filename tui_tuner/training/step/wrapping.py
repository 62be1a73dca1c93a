"""The model as its forward pass is called: wrapped where several processes train it together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parallel import DistributedDataParallel

from tui_tuner.training.ranks import Ranks

if TYPE_CHECKING:
    from torch.nn import Module


def place_model(model: Module, device: torch.device) -> None:
    """Move what is not on the device yet to it, such as a new head; quantised weights are there."""
    if device.type == "cuda":
        torch.cuda.set_device(device)  # random states and kernels of libraries take the current one
    if getattr(model, "quantization_method", None) is None:
        model.to(device)


def wrap_model(model: Module, device: torch.device, ranks: Ranks) -> Module:
    """Wrap a model so that each backward pass averages its gradients over the ranks; alone, it stays as is.

    Call it before the optimizer is made: another wrapper may put other parameters in the place of these.
    """
    if ranks.world == 1:
        return model
    ranks.join_group()
    devices = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices)


def without_averaging(model: Module) -> contextlib.AbstractContextManager[Any]:
    """Let gradients add up on this rank alone; the next backward pass outside averages all of them."""
    if isinstance(model, DistributedDataParallel):
        return model.no_sync()
    return contextlib.nullcontext()
