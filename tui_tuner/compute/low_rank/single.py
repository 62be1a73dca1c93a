"""A frozen linear layer and its LoRA matrices as one step of autograd: the way of CPUs.

peft computes `base(x) + B(A(x)) * scaling` as separate operations: the product of the low rank is written,
scaled, and added by passes over the whole output, and on the way back over the whole input. Here the low-rank
products are accumulated into those of the frozen weight (`addmm`), forward and backward, and the gradient of
B is taken in the orientation that is quick for a thin matrix. The numbers are the same but for the order of
rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear


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


def forward_single(layer: Any, stock: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    """The forward pass of one layer; peft's own (`stock`) where it is asked for more than that."""
    name = str(layer.active_adapters[0])
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
