"""The computations of the kernels in as few plain PyTorch operations as possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

Pair = tuple[Any, Any]

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "silu": functional.silu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu": functional.gelu,
}


@dataclass(frozen=True)
class RotaryKind:
    """The formula of a rotary embedding.

    Args:
        pairs: Neighbouring dimensions are rotated together; else the first half with the second.
        repeated: With pairs: only the first half of the cosines is used, each for both dimensions (GLM).
        narrow: The result has the dtype of queries and keys; else the wider one of theirs and the cosines'.
    """

    pairs: bool = False
    repeated: bool = False
    narrow: bool = False


def _split_halves(x: Tensor, kind: RotaryKind) -> Pair:
    """Return the two parts of [..., width] that are rotated into each other, as views."""
    if kind.pairs:
        return x[..., 0::2], x[..., 1::2]
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def _split_factors(x: Tensor, kind: RotaryKind) -> Pair:
    """Return the cosines or sines for both parts, as views."""
    if kind.repeated:
        half = x[..., : x.shape[-1] // 2]
        return half, half
    return _split_halves(x, kind)


def turn_heads(
    x: Tensor, cos: Tensor, sin: Tensor, kind: RotaryKind, dtype: torch.dtype, back: bool = False
) -> Tensor:
    """Rotate x [batch, heads, tokens, head_dim] by cosines and sines [batch, 1, tokens, width].

    Dimensions beyond `width` are copied. The result has the dtype `dtype` and the memory layout of x.

    Args:
        back: x is a gradient of the result; return the gradient of the input.
    """
    out = torch.empty_like(x, dtype=dtype)
    width = cos.shape[-1]
    turned, rest = out[..., :width], out[..., width:]
    if rest.shape[-1]:
        rest.copy_(x[..., width:])
        x = x[..., :width]
    first, second = _split_halves(x, kind)
    into_first, into_second = _split_halves(turned, kind)
    sin_first, sin_second = _split_factors(sin, kind)
    if kind.repeated:
        cos_first, cos_second = _split_factors(cos, kind)
        torch.mul(first, cos_first, out=into_first)
        torch.mul(second, cos_second, out=into_second)
    else:
        torch.mul(x, cos, out=turned)
    # Backward is the transposed rotation: each half gets the other one's sines.
    if back:
        into_first.addcmul_(second, sin_second)
        into_second.addcmul_(first, sin_first, value=-1)
    else:
        into_first.addcmul_(second, sin_first, value=-1)
        into_second.addcmul_(first, sin_second)
    return out


def apply_activation(gate: Tensor, activation: str) -> Tensor:
    """Return the activation of a tensor, as a new tensor that callers may change in place."""
    return ACTIVATIONS[activation](gate)


def multiply_by_slope(above: Tensor, gate: Tensor, activation: str, into: Tensor | None = None) -> Tensor:
    """Return `above` times the derivative of the activation at `gate`, written into `into` if given."""
    aten = torch.ops.aten
    if activation == "silu":
        if into is None:
            return aten.silu_backward(above, gate)
        return aten.silu_backward.grad_input(above, gate, grad_input=into)
    how = "tanh" if activation == "gelu_tanh" else "none"
    if into is None:
        return aten.gelu_backward(above, gate, approximate=how)
    return aten.gelu_backward.grad_input(above, gate, approximate=how, grad_input=into)


def compute_gated_gradients(
    above: Tensor, gate: Tensor, up: Tensor, activation: str
) -> tuple[Tensor, Tensor]:
    """Return the gradients of gate and up for the gradient `above` of their product."""
    return multiply_by_slope(above * up, gate, activation), apply_activation(gate, activation).mul_(above)
