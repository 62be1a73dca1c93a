"""Float32 for the time of a check, whatever numbers a model is held and computed in.

16 bits hide what is wrong: a bias by position that a fast way leaves out changes the loss of a token by a
hundredth, and so does rounding. In float32 rounding is a ten-thousandth of that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from tui_tuner.locales import _
from tui_tuner.models.device import free_memory

HALVES = (torch.bfloat16, torch.float16)
MOST_OF_FREE = 0.5  # share of the free memory that a copy in float32 may take; activations need some too
_FLOAT32 = 4  # bytes


def computes_in_float32(model: Any, autocast: Any) -> bool:
    """Whether a forward pass is in float32 as it is: all weights, and nothing cast on the way."""
    if autocast is not None or _eight_bits(model):
        return False
    held = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
    return held <= {torch.float32, torch.float64} and not list(_computing_in_16_bits(model))


def float32_problem(model: Any, device: Any) -> str:
    """Why a model cannot be computed in float32 for a while; empty if it can."""
    if _eight_bits(model):
        return _("8-bit weights are multiplied in 16 bits")
    extra = sum(_FLOAT32 * tensor.numel() for tensor in _halves(model))
    if extra > MOST_OF_FREE * free_memory(device):
        return _("the memory has no room for a copy of the weights in float32")
    return ""


@contextlib.contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Weights, buffers and products of a model in float32, and afterwards bit for bit what they were.

    Autocast is the caller's to leave out. 4-bit weights stay as they are, and are multiplied in float32.
    """
    kept = [(tensor, tensor.data) for tensor in _halves(model)]
    computing = list(_computing_in_16_bits(model))
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")  # TensorFloat-32 has 10 bits, hardly more than bfloat16
        for tensor, data in kept:
            tensor.data = data.float()
        for module, _unused in computing:
            module.compute_dtype = torch.float32
        yield
    finally:
        for tensor, data in kept:
            tensor.data = data
        for module, dtype in computing:
            module.compute_dtype = dtype
        torch.set_float32_matmul_precision(precision)


def _halves(model: Any) -> Iterator[Any]:
    """Parameters and buffers that are held in 16 bits, each once."""
    seen: set[int] = set()
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dtype in HALVES and id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def _computing_in_16_bits(model: Any) -> Iterator[tuple[Any, Any]]:
    """Modules of 4-bit weights (bitsandbytes), and what each multiplies in."""
    for module in model.modules():
        dtype = getattr(module, "compute_dtype", None)
        if dtype in HALVES:
            yield module, dtype


def _eight_bits(model: Any) -> bool:
    """Whether there are weights of 8 bits (bitsandbytes), whose kernel rounds what goes in."""
    return any(type(module).__name__ == "Linear8bitLt" for module in model.modules())
