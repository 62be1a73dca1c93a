"""What kernels compute, in as few plain steps of PyTorch as it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

Pair = tuple[Any, Any]

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "silu": functional.silu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu": functional.gelu,
}


@dataclass(frozen=True)
class RotaryKind:
    """How a function rotates.

    Args:
        pairs: Neighbours are rotated together; else the first half with the second.
        repeated: Pairs whose cosines are the first half of what is given, each taken twice (GLM).
        narrow: The result is in the dtype of queries and keys, not in the wider one of them and the cosines.
    """

    pairs: bool = False
    repeated: bool = False
    narrow: bool = False


def _halves(x: Any, kind: RotaryKind) -> Pair:
    """The two parts of [..., width] that are rotated into each other."""
    if kind.pairs:
        return x[..., 0::2], x[..., 1::2]
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def _factors(x: Any, kind: RotaryKind) -> Pair:
    """The cosines or sines of both parts."""
    if kind.repeated:
        half = x[..., : x.shape[-1] // 2]
        return half, half
    return _halves(x, kind)


def turn(x: Any, cos: Any, sin: Any, kind: RotaryKind, dtype: Any, back: bool = False) -> Any:
    """x [batch, heads, tokens, head_dim] rotated by cosines and sines [batch, 1, tokens, width], in `dtype`.

    Dimensions beyond `width` stay as they are. Lies in memory as x does.

    Args:
        back: What a gradient of the result is for x.
    """
    out = torch.empty_like(x, dtype=dtype)
    width = cos.shape[-1]
    turned, rest = out[..., :width], out[..., width:]
    if rest.shape[-1]:
        rest.copy_(x[..., width:])
        x = x[..., :width]
    first, second = _halves(x, kind)
    into_first, into_second = _halves(turned, kind)
    sin_first, sin_second = _factors(sin, kind)
    if kind.repeated:
        cos_first, cos_second = _factors(cos, kind)
        torch.mul(first, cos_first, out=into_first)
        torch.mul(second, cos_second, out=into_second)
    else:
        torch.mul(x, cos, out=turned)
    if back:
        into_first.addcmul_(second, sin_second)
        into_second.addcmul_(first, sin_first, value=-1)
    else:
        into_first.addcmul_(second, sin_first, value=-1)
        into_second.addcmul_(first, sin_second)
    return out


def activated(gate: Any, activation: str) -> Any:
    """The activation of a tensor, as a new one."""
    return ACTIVATIONS[activation](gate)


def times_slope(above: Any, gate: Any, activation: str, into: Any = None) -> Any:
    """`above` times the derivative of the activation at `gate`; into a tensor of that shape where given."""
    aten = torch.ops.aten
    if activation == "silu":
        if into is None:
            return aten.silu_backward(above, gate)
        return aten.silu_backward.grad_input(above, gate, grad_input=into)
    how = "tanh" if activation == "gelu_tanh" else "none"
    if into is None:
        return aten.gelu_backward(above, gate, approximate=how)
    return aten.gelu_backward.grad_input(above, gate, approximate=how, grad_input=into)


def to_parts(above: Any, gate: Any, up: Any, activation: str) -> tuple[Any, Any]:
    """Gradients of gate and up for that of their product."""
    return times_slope(above * up, gate, activation), activated(gate, activation).mul_(above)
