"""A frozen linear layer and its LoRA matrices as one step of autograd: the way for CPUs.

peft computes `base(x) + B(A(x)) * scaling` as separate operations: the low-rank product is written, scaled
and added in passes over the whole output, and in the backward pass over the whole input. Here the low-rank
products are accumulated into those of the frozen weight (`addmm`), in both passes. The results are the same
up to the order of rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import linear

if TYPE_CHECKING:
    from torch import Tensor


class LowRankLinear(torch.autograd.Function):
    """`x W^T + bias + scaling (x A^T) B^T` with gradients for x [..., in], A [r, in] and B [out, r].

    Returns [tokens, out].
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ a.t()
        out = linear(rows, weight, bias)
        out.addmm_(low, b.t(), alpha=scaling)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scaling, ctx.shape = scaling, x.shape
        # Callers restore the shape: autograd forbids in-place changes to a view that is returned from here,
        # and some models add to the output of a layer in place.
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        rows, low, weight, a, b = ctx.saved_tensors
        above = gradients[0]
        scaled = (above @ b).mul_(ctx.scaling)
        # Transposed: CPUs are faster if the thin matrix is on the left.
        to_b = (low.t().mul(ctx.scaling) @ above).t()
        to_a = scaled.t() @ rows
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (above @ weight).addmm_(scaled, a).view(ctx.shape)
        return to_x, None, None, to_a, to_b, None


def forward_single(
    layer: torch.nn.Module, stock: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """Compute one layer; by peft (`stock`) if the call or the state of the layer is not the plain one."""
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
    # Without autocast, peft casts between dtypes in ways of its own.
    if not x.dtype == weight.dtype == a.dtype:
        return stock(x)
    return LowRankLinear.apply(x, weight, bias, a, b, scaling).view(*x.shape[:-1], -1)
