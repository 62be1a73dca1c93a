"""Root mean square norms as one kernel: PyTorch's own (`_fused_rms_norm`), which its models do not call.

A norm of transformers is eight kernels forward and a dozen back: casts, squares, means and products, each
over the whole row. What a module computes is found by trying: which of its numbers is the epsilon, whether
it multiplies by the weight or by one more, and in which numbers its result is. A `LayerNorm` is one kernel
already.

On a GPU PyTorch's function is called as it is, whose gradient is compiled. Elsewhere the same is an
operation of our own, made of plain steps: it can be tried, and counted, without a GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch

from tui_tuner.compute.kernels.declared import declare_launches
from tui_tuner.compute.kernels.probe import Draws, Numbers, agree, proves

_LIBRARY = torch.library.Library("tui_tuner", "FRAGMENT")
_LIBRARY.define("rms_norm(Tensor x, Tensor? weight, float eps) -> (Tensor, Tensor)")
_LIBRARY.define("rms_norm_backward(Tensor above, Tensor x, Tensor scale, Tensor? weight) -> Tensor")
_LIBRARY.define(
    "rms_norm_trained_backward(Tensor above, Tensor x, Tensor scale, Tensor weight) -> (Tensor, Tensor)"
)
# `_fused_rms_norm_cuda`, and its backward: the input's gradient, and the weight's by a kernel of its own
declare_launches("tui_tuner::rms_norm", 1)
declare_launches("tui_tuner::rms_norm_backward", 1)
declare_launches("tui_tuner::rms_norm_trained_backward", 2)

LARGEST_EPS = 1e-2
TRIED = (torch.float32, torch.bfloat16, torch.float16)
_TINY = 1e-3  # inputs so small that the epsilon counts


def _forward(x: Any, weight: Any, eps: float) -> tuple[Any, Any]:
    wide = x.float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    out = wide * scale
    return (out if weight is None else out * weight.float()).to(x.dtype), scale


def _forward_empty(x: Any, weight: Any, eps: float) -> tuple[Any, Any]:
    return torch.empty_like(x), x.new_empty((*x.shape[:-1], 1), dtype=torch.float32)


def _backward(above: Any, x: Any, scale: Any, weight: Any) -> Any:
    normal, wide = x.float() * scale, above.float()
    wide = wide if weight is None else wide * weight.float()
    return ((wide - normal * (wide * normal).mean(-1, keepdim=True)) * scale).to(x.dtype)


def _trained_backward(above: Any, x: Any, scale: Any, weight: Any) -> tuple[Any, Any]:
    rows = (above.float() * x.float() * scale).flatten(0, -2)
    return _backward(above, x, scale, weight), rows.sum(0).to(weight.dtype)


_LIBRARY.impl("rms_norm", _forward, "CPU")
_LIBRARY.impl("rms_norm_backward", _backward, "CPU")
_LIBRARY.impl("rms_norm_trained_backward", _trained_backward, "CPU")
torch.library.register_fake("tui_tuner::rms_norm", _forward_empty, lib=_LIBRARY)
torch.library.register_fake(
    "tui_tuner::rms_norm_backward", lambda above, x, scale, weight: torch.empty_like(x), lib=_LIBRARY
)
torch.library.register_fake(
    "tui_tuner::rms_norm_trained_backward",
    lambda above, x, scale, weight: (torch.empty_like(x), torch.empty_like(weight)),
    lib=_LIBRARY,
)


class _Normal(torch.autograd.Function):
    """The operation with its gradient, for tensors that are not on a GPU."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, eps: float) -> Any:
        out, scale = torch.ops.tui_tuner.rms_norm(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, scale = ctx.saved_tensors
        above = gradients[0].contiguous()
        if weight is not None and ctx.needs_input_grad[1]:
            return *torch.ops.tui_tuner.rms_norm_trained_backward(above, x, scale, weight), None
        return torch.ops.tui_tuner.rms_norm_backward(above, x, scale, weight), None, None


def fused(x: Any, weight: Any, eps: float) -> Any:
    """The norm over the last dimension of x [..., width], times a weight [width] of x's dtype, or none."""
    x = x.contiguous()
    if x.is_cuda:
        # not `torch.rms_norm`, which autocast would compute, and return, in float32
        return torch.ops.aten._fused_rms_norm(x, [x.shape[-1]], weight, eps)[0]
    return _Normal.apply(x, weight, eps)


@dataclass(frozen=True)
class NormKind:
    """What a norm computes.

    Args:
        eps: Added to the mean of squares.
        shifted: Multiplies by 1 + weight (Gemma) instead of weight.
        promoted: The result is in the wider dtype of input and weight; else in the input's.
        widened: Autocast makes the input float32 (PyTorch's own `RMSNorm`).
    """

    eps: float
    shifted: bool = False
    promoted: bool = False
    widened: bool = False


def normalise(x: Any, weight: Any, kind: NormKind) -> Any:
    """The norm of x [..., width] by a weight [width] or None; dtypes as the module has them."""
    if x.dim() == 4 and not x.is_contiguous() and x.transpose(1, 2).is_contiguous():
        # heads that lie token by token stay so, without a copy
        return normalise(x.transpose(1, 2), weight, kind).transpose(1, 2)
    if kind.widened and torch.is_autocast_enabled(x.device.type):
        x = x.float()
    if weight is None:
        return fused(x, None, kind.eps)
    if kind.shifted:
        plain = fused(x, None, kind.eps)
        out = torch.addcmul(plain, plain, weight)
    else:
        dtype = x.dtype
        if weight.dtype != dtype:
            dtype = torch.promote_types(dtype, weight.dtype)
        out = fused(x.to(dtype), weight.to(dtype), kind.eps)
    return out if kind.promoted else out.to(x.dtype)


def forward(module: Any, stock: Any, kind: NormKind, *args: Any, **kwargs: Any) -> Any:
    """The forward pass of a module whose norm is replaced; its own where it is called in another way."""
    weight = module._parameters.get("weight")
    if len(args) != 1 or kwargs or not _takes(args[0], weight):
        return stock(*args, **kwargs)
    return normalise(args[0], weight, kind)


def _takes(x: Any, weight: Any) -> bool:
    """Whether they are in numbers that were tried: the weight in those of the input, or in float32."""
    if x.dtype not in TRIED:
        return False
    return weight is None or weight.dtype in (x.dtype, torch.float32)


def looks_like_norm(module: Any) -> bool:
    """Whether a module may be a norm of this kind: at most a weight of one dimension, and an epsilon."""
    if next(module.children(), None) is not None or "forward" in module.__dict__:
        return False
    if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm) or any(True for _ in module.buffers()):
        return False
    own = {name: one for name, one in module._parameters.items() if one is not None}
    if set(own) - {"weight"} or any(one.dim() != 1 for one in own.values()):
        return False
    return bool(_epsilons(module))


def kind_of(module: Any, device: Any, numbers: list[Numbers]) -> NormKind | None:
    """What a norm computes, found by trying; None where it is something else."""
    weight = module._parameters.get("weight")
    width = 48 if weight is None else weight.shape[0]
    shifts = (False,) if weight is None else (False, True)
    for eps, shifted in product(_epsilons(module), shifts):
        # in float32 all that is left open are the same
        if not _is(NormKind(eps, shifted), module, width, device, numbers[:1]):
            continue
        for promoted, widened in product((False, True), repeat=2):
            kind = NormKind(eps, shifted, promoted, widened)
            if _is(kind, module, width, device, numbers):
                return kind
    return None


def _epsilons(module: Any) -> list[float]:
    found = [one for one in vars(module).values() if type(one) is float and 0 < one <= LARGEST_EPS]
    if isinstance(module, torch.nn.RMSNorm) and module.eps is None:
        found.append(torch.finfo(torch.float32).eps)
    return list(dict.fromkeys(found))


def _is(kind: NormKind, module: Any, width: int, device: Any, numbers: list[Numbers]) -> bool:
    return proves(lambda: all(_agrees(kind, module, width, device, one) for one in numbers))


def _agrees(kind: NormKind, module: Any, width: int, device: Any, numbers: Numbers) -> bool:
    """In these numbers, with the weight in them, and in float32 where that may be held so."""
    own = module._parameters.get("weight")
    weights = [numbers.dtype] if own is None else list(dict.fromkeys((numbers.dtype, torch.float32)))
    for held in weights:
        draws = Draws(device)
        weight = None if own is None else draws.normal(width, dtype=held).requires_grad_()
        for size in (1.0, _TINY):
            x = (draws.normal(2, 5, width) * size).to(numbers.dtype).requires_grad_()
            leaves = [x] if weight is None else [x, weight]
            with numbers.computing(torch.device(device)), _weighing(module, weight):
                ours = partial(_outputs, lambda x=x, weight=weight: normalise(x, weight, kind))
                if not agree(ours, partial(_outputs, partial(module.forward, x)), leaves, numbers.close):
                    return False
    return True


def _outputs(compute: Any) -> list[Any]:
    return [compute()]


@contextlib.contextmanager
def _weighing(module: Any, weight: Any) -> Iterator[None]:
    """Another weight in a module for a while."""
    own = module._parameters.get("weight")
    try:
        if own is not None:
            module._parameters["weight"] = weight
        yield
    finally:
        if own is not None:
            module._parameters["weight"] = own
