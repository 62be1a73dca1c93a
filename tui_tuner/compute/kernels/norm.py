"""Root mean square norms as one kernel: PyTorch's `_fused_rms_norm`, which transformers models do not call.

A norm of transformers takes eight kernels forward and a dozen backward: casts, squares, means and products,
each over the whole row. Tests find what a module computes: which of its floats is the epsilon, whether it
multiplies by the weight or by 1 + weight, and the dtype of its result. A `LayerNorm` is one kernel already.

On a GPU PyTorch's function is called directly. Elsewhere an operation of our own, made of plain steps, does
the same, so that it can be tested, and its launches counted, without a GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.kernels.kernel_launches import declare_launches
from tui_tuner.compute.kernels.probe import Numbers, RandomDraws, has_same_results, try_kernel_proof

if TYPE_CHECKING:
    from torch import Tensor

_LIBRARY = torch.library.Library("tui_tuner", "FRAGMENT")
_LIBRARY.define("rms_norm(Tensor x, Tensor? weight, float eps) -> (Tensor, Tensor)")
_LIBRARY.define("rms_norm_backward(Tensor above, Tensor x, Tensor scale, Tensor? weight) -> Tensor")
_LIBRARY.define(
    "rms_norm_trained_backward(Tensor above, Tensor x, Tensor scale, Tensor weight) -> (Tensor, Tensor)"
)
# `_fused_rms_norm` on CUDA; backward, the input's gradient, and the weight's in a second kernel.
declare_launches("tui_tuner::rms_norm", 1)
declare_launches("tui_tuner::rms_norm_backward", 1)
declare_launches("tui_tuner::rms_norm_trained_backward", 2)

LARGEST_EPS = 1e-2
TRIED = (torch.float32, torch.bfloat16, torch.float16)
_TINY = 1e-3  # inputs so small that the epsilon matters


def _compute_norm(x: Tensor, weight: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    wide = x.float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    out = wide * scale
    return (out if weight is None else out * weight.float()).to(x.dtype), scale


def _make_empty_results(x: Tensor, weight: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty((*x.shape[:-1], 1), dtype=torch.float32)


def _compute_input_gradient(above: Tensor, x: Tensor, scale: Tensor, weight: Tensor | None) -> Tensor:
    normal, wide = x.float() * scale, above.float()
    wide = wide if weight is None else wide * weight.float()
    return ((wide - normal * (wide * normal).mean(-1, keepdim=True)) * scale).to(x.dtype)


def _compute_both_gradients(above: Tensor, x: Tensor, scale: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    rows = (above.float() * x.float() * scale).flatten(0, -2)
    return _compute_input_gradient(above, x, scale, weight), rows.sum(0).to(weight.dtype)


_LIBRARY.impl("rms_norm", _compute_norm, "CPU")
_LIBRARY.impl("rms_norm_backward", _compute_input_gradient, "CPU")
_LIBRARY.impl("rms_norm_trained_backward", _compute_both_gradients, "CPU")
torch.library.register_fake("tui_tuner::rms_norm", _make_empty_results, lib=_LIBRARY)
torch.library.register_fake(
    "tui_tuner::rms_norm_backward", lambda above, x, scale, weight: torch.empty_like(x), lib=_LIBRARY
)
torch.library.register_fake(
    "tui_tuner::rms_norm_trained_backward",
    lambda above, x, scale, weight: (torch.empty_like(x), torch.empty_like(weight)),
    lib=_LIBRARY,
)


class _RmsNorm(torch.autograd.Function):
    """The operation with its gradient, for tensors that are not on a GPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        out, scale = torch.ops.tui_tuner.rms_norm(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, scale = ctx.saved_tensors
        above = gradients[0].contiguous()
        if weight is not None and ctx.needs_input_grad[1]:
            return *torch.ops.tui_tuner.rms_norm_trained_backward(above, x, scale, weight), None
        return torch.ops.tui_tuner.rms_norm_backward(above, x, scale, weight), None, None


def compute_fused_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """Normalise x [..., width] over its last dimension, times a weight [width] of the same dtype, or None."""
    x = x.contiguous()
    if x.is_cuda:
        # Not `torch.rms_norm`: autocast would compute and return it in float32.
        return torch.ops.aten._fused_rms_norm(x, [x.shape[-1]], weight, eps)[0]
    return _RmsNorm.apply(x, weight, eps)


@dataclass(frozen=True)
class NormKind:
    """The formula of a norm.

    Args:
        eps: Added to the mean of squares.
        shifted: Multiplies by 1 + weight (Gemma) instead of weight.
        promoted: The result has the wider dtype of input and weight; else the input's.
        widened: Autocast casts the input to float32 (PyTorch's own `RMSNorm`).
    """

    eps: float
    shifted: bool = False
    promoted: bool = False
    widened: bool = False


def normalise_rows(x: Tensor, weight: Tensor | None, kind: NormKind) -> Tensor:
    """Normalise x [..., width] with a weight [width] or None; the result has the dtype of the module's."""
    if x.dim() == 4 and not x.is_contiguous() and x.transpose(1, 2).is_contiguous():
        # Heads laid out token by token stay so; the kernel would copy them to make them contiguous.
        return normalise_rows(x.transpose(1, 2), weight, kind).transpose(1, 2)
    if kind.widened and torch.is_autocast_enabled(x.device.type):
        x = x.float()
    if weight is None:
        return compute_fused_norm(x, None, kind.eps)
    if kind.shifted:
        plain = compute_fused_norm(x, None, kind.eps)
        out = torch.addcmul(plain, plain, weight)
    else:
        dtype = x.dtype
        if weight.dtype != dtype:
            dtype = torch.promote_types(dtype, weight.dtype)
        out = compute_fused_norm(x.to(dtype), weight.to(dtype), kind.eps)
    return out if kind.promoted else out.to(x.dtype)


def forward_norm(module: torch.nn.Module, stock: Any, kind: NormKind, *args: Any, **kwargs: Any) -> Tensor:
    """Compute a replaced norm; by the module's own forward pass if the call is not one that was tested."""
    weight = module._parameters.get("weight")
    if len(args) != 1 or kwargs or not _takes_dtypes(args[0], weight):
        return stock(*args, **kwargs)
    return normalise_rows(args[0], weight, kind)


def _takes_dtypes(x: Tensor, weight: Tensor | None) -> bool:
    """Return whether the dtypes were tested: the weight's is the input's, or float32."""
    if x.dtype not in TRIED:
        return False
    return weight is None or weight.dtype in (x.dtype, torch.float32)


def looks_like_norm(module: torch.nn.Module) -> bool:
    """Return whether a module may be such a norm: at most a weight of one dimension, and an epsilon."""
    if next(module.children(), None) is not None or "forward" in module.__dict__:
        return False
    if isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm) or any(True for _ in module.buffers()):
        return False
    own = {name: one for name, one in module._parameters.items() if one is not None}
    if set(own) - {"weight"} or any(one.dim() != 1 for one in own.values()):
        return False
    return bool(_list_epsilons(module))


def find_norm_kind(module: torch.nn.Module, device: torch.device, numbers: list[Numbers]) -> NormKind | None:
    """Find the norm that a module computes by testing candidates; None if none matches."""
    weight = module._parameters.get("weight")
    width = 48 if weight is None else weight.shape[0]
    shifts = (False,) if weight is None else (False, True)
    for eps, shifted in product(_list_epsilons(module), shifts):
        # In float32 without autocast the four variants below are the same, so a wrong epsilon shows at once.
        if not _is_norm_kind(NormKind(eps, shifted), module, width, device, numbers[:1]):
            continue
        for promoted, widened in product((False, True), repeat=2):
            kind = NormKind(eps, shifted, promoted, widened)
            if _is_norm_kind(kind, module, width, device, numbers):
                return kind
    return None


def _list_epsilons(module: torch.nn.Module) -> list[float]:
    found = [one for one in vars(module).values() if type(one) is float and 0 < one <= LARGEST_EPS]
    if isinstance(module, torch.nn.RMSNorm) and module.eps is None:
        found.append(torch.finfo(torch.float32).eps)
    return list(dict.fromkeys(found))


def _is_norm_kind(
    kind: NormKind, module: torch.nn.Module, width: int, device: torch.device, numbers: list[Numbers]
) -> bool:
    return try_kernel_proof(
        lambda: all(_agrees_with_norm(kind, module, width, device, one) for one in numbers)
    )


def _agrees_with_norm(
    kind: NormKind, module: torch.nn.Module, width: int, device: torch.device, numbers: Numbers
) -> bool:
    """Test a candidate in one numeric format, with the weight in its dtype and in float32."""
    own = module._parameters.get("weight")
    weights = [numbers.dtype] if own is None else list(dict.fromkeys((numbers.dtype, torch.float32)))
    for held in weights:
        draws = RandomDraws(device)
        weight = None if own is None else draws.draw_normal(width, dtype=held).requires_grad_()
        # Only with tiny inputs does the epsilon change the result.
        for size in (1.0, _TINY):
            x = (draws.draw_normal(2, 5, width) * size).to(numbers.dtype).requires_grad_()
            leaves = [x] if weight is None else [x, weight]
            with numbers.enter_numbers(torch.device(device)), _replace_weight(module, weight):
                ours = partial(_list_outputs, lambda x=x, weight=weight: normalise_rows(x, weight, kind))
                if not has_same_results(
                    ours,
                    partial(_list_outputs, partial(module.forward, x)),
                    leaves,
                    numbers.allowed_difference,
                ):
                    return False
    return True


def _list_outputs(compute: Any) -> list[Tensor]:
    return [compute()]


@contextlib.contextmanager
def _replace_weight(module: torch.nn.Module, weight: Tensor | None) -> Iterator[None]:
    """Use another weight in a module within the context."""
    own = module._parameters.get("weight")
    try:
        if own is not None:
            module._parameters["weight"] = weight
        yield
    finally:
        if own is not None:
            module._parameters["weight"] = own
