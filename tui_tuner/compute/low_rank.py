"""A frozen linear layer and its LoRA matrices as one step of autograd.

peft computes `base(x) + B(A(x)) * scaling` as separate operations: the product of the low rank is written,
scaled, and added by passes over the whole output, and on the way back over the whole input. Here the low-rank
products are accumulated into those of the frozen weight (`addmm`), forward and backward, and the gradient of
B is taken in the orientation that is quick for a thin matrix. The numbers are the same but for the order of
rounding.

Used on CPUs, for plain LoRA layers of peft (0.21) that prove to give peft's own outputs and gradients.
Everything else (dropout, DoRA, quantised weights, merged or switched-off adapters) goes through peft.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear

from tui_tuner.compute.precision import in_float32

CLOSE = 1e-4  # relative, in float32
CLOSE_HALF = 3e-2


class LowRankLinear(torch.autograd.Function):
    """`x W^T + bias + scaling (x A^T) B^T` with gradients for x [..., in], A [r, in] and B [out, r].

    Returns [tokens, out]: autograd forbids to change a view that was made in here, and some models add to
    what a layer returns in place.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scaling: float) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ a.t()
        out = linear(rows, weight, bias)
        out.addmm_(low, b.t(), alpha=scaling)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scaling, ctx.shape = scaling, x.shape
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows, low, weight, a, b = ctx.saved_tensors
        above = gradients[0]
        scaled = (above @ b).mul_(ctx.scaling)
        to_b = (low.t().mul(ctx.scaling) @ above).t()
        to_a = scaled.t() @ rows
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (above @ weight).addmm_(scaled, a).view(ctx.shape)
        return to_x, None, None, to_a, to_b, None


def quicken(model: Any) -> int:
    """Replace the forward pass of the LoRA layers that it fits; returns how many.

    Draws nothing from the global random state.
    """
    try:
        from peft.tuners.lora.layer import Linear
    except ImportError:
        return 0
    proved: dict[Any, bool] = {}
    count = 0
    for layer in model.modules():
        if type(layer) is not Linear or not _plain(layer):
            continue
        stock = layer.forward
        weight = layer.base_layer.weight
        kind = (weight.shape, weight.dtype, layer.base_layer.bias is None, layer.r[_adapter(layer)])
        if kind not in proved:
            proved[kind] = _same(layer, stock)
        if proved[kind]:
            layer.forward = partial(_forward, layer, stock)
            count += 1
    return count


def _adapter(layer: Any) -> str:
    return str(layer.active_adapters[0])


def _plain(layer: Any) -> bool:
    """Whether a layer is a frozen `torch.nn.Linear` on a CPU with one LoRA adapter and nothing more."""
    base, names = layer.base_layer, layer.active_adapters
    if type(base) is not torch.nn.Linear or layer.fan_in_fan_out or len(names) != 1:
        return False
    name = names[0]
    if set(layer.lora_A) != {name} or name in layer.lora_variant or layer.lora_bias[name]:
        return False
    if base.weight.device.type != "cpu" or any(one.requires_grad for one in base.parameters()):
        return False
    return not getattr(layer.lora_dropout[name], "p", 0.0)


def _forward(layer: Any, stock: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    name = _adapter(layer)
    base, a, b = layer.base_layer, layer.lora_A[name].weight, layer.lora_B[name].weight
    weight, bias, scaling = base.weight, base.bias, layer.scaling[name]
    if args or kwargs or layer.disable_adapters or layer.merged:
        return stock(x, *args, **kwargs)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, a, b = (tensor.to(dtype) for tensor in (x, weight, a, b))
        bias = None if bias is None else bias.to(dtype)
        with torch.autocast("cpu", enabled=False):
            return LowRankLinear.apply(x, weight, bias, a, b, scaling).view(*x.shape[:-1], -1)
    if not x.dtype == weight.dtype == a.dtype:
        return stock(x)
    return LowRankLinear.apply(x, weight, bias, a, b, scaling).view(*x.shape[:-1], -1)


def _same(layer: Any, stock: Callable[..., Any]) -> bool:
    """Whether outputs and gradients are peft's, for random inputs and matrices (a new B is all zeros).

    In float32, where rounding hides nothing, and in the numbers that the weights are held in.
    """
    try:
        with in_float32(layer):
            if not _agrees(layer, stock, CLOSE):
                return False
        return layer.base_layer.weight.dtype == torch.float32 or _agrees(layer, stock, CLOSE_HALF)
    except (RuntimeError, AttributeError, TypeError):  # a peft whose layers are made otherwise
        return False


def _agrees(layer: Any, stock: Callable[..., Any], most: float) -> bool:
    name = _adapter(layer)
    pair = (layer.lora_A[name].weight, layer.lora_B[name].weight)
    kept = [one.detach().clone() for one in pair]
    generator = torch.Generator().manual_seed(0)

    def draw(like: Any, *shape: int) -> Any:
        return torch.randn(*shape, generator=generator).to(like.dtype)

    try:
        with torch.no_grad():
            for one in pair:
                one.copy_(draw(one, *one.shape))
        weight = layer.base_layer.weight
        x = draw(weight, 2, 3, weight.shape[1]).requires_grad_()
        above = draw(weight, 2, 3, weight.shape[0])
        with torch.enable_grad():
            found, truth = (
                [out, *torch.autograd.grad(out, (x, *pair), above.to(out.dtype))]
                for out in (_forward(layer, stock, x), stock(x))
            )
        with torch.no_grad():
            return all(
                one.dtype == other.dtype and bool((one - other).norm() <= most * other.norm())
                for one, other in zip(found, truth, strict=True)
            )
    finally:
        with torch.no_grad():
            for one, before in zip(pair, kept, strict=True):
                one.copy_(before)


__all__ = ["LowRankLinear", "quicken"]
