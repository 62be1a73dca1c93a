"""Kernels of the package liger-kernel, where it is installed: it is never needed.

Only functions of it are used, not its models: rotations, and gated activations. Each is an operation of our
own here, so that what it launches is known without a GPU, and can be tried without one. Its kernels write
into what they are given, and get copies of what others keep.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch

from tui_tuner.compute.kernels.available import liger_problem
from tui_tuner.compute.kernels.declared import declare_launches
from tui_tuner.compute.kernels.steps import RotaryKind, activated, to_parts, turn
from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.text import one_line

ACTIVATIONS = ("silu", "gelu_tanh")  # that its gated kernels compute

_LIBRARY = torch.library.Library("tui_tuner", "FRAGMENT")
_LIBRARY.define(
    "liger_rotate(Tensor query, Tensor key, Tensor cos, Tensor sin, bool back) -> (Tensor, Tensor)"
)
_LIBRARY.define("liger_gated(Tensor gate, Tensor up, str activation) -> Tensor")
_LIBRARY.define(
    "liger_gated_backward(Tensor above, Tensor gate, Tensor up, str activation) -> (Tensor, Tensor)"
)
declare_launches("tui_tuner::liger_rotate", 3)  # two copies, and one kernel for both
declare_launches("tui_tuner::liger_gated", 1)
declare_launches("tui_tuner::liger_gated_backward", 3)


@cache
def functions() -> dict[str, Any]:
    """Its functions by name; none where it cannot be imported, of which a warning tells."""
    try:
        from liger_kernel.ops.geglu import geglu_backward, geglu_forward
        from liger_kernel.ops.rope import rope_backward, rope_forward
        from liger_kernel.ops.swiglu import swiglu_backward, swiglu_forward
    except Exception as error:  # built for another torch or Triton
        warnings.warn(_("liger-kernel cannot be used: {problem}", problem=one_line(error, 200)), stacklevel=2)
        return {}
    return {
        "rope": rope_forward,
        "rope_backward": rope_backward,
        "silu": swiglu_forward,
        "silu_backward": swiglu_backward,
        "gelu_tanh": geglu_forward,
        "gelu_tanh_backward": geglu_backward,
    }


def usable(device: Device) -> bool:
    """Whether its kernels may be tried on a device. Imports it, but for tensors that are on no GPU."""
    return not liger_problem(device) and (not torch.cuda.is_available() or bool(functions()))


# ---- on a GPU: its kernels --------------------------------------------------------------------------------


def _rotate(query: Any, key: Any, cos: Any, sin: Any, back: bool) -> tuple[Any, Any]:
    # copies that lie token by token, as the kernel wants them, and writes into them
    own = [
        one.transpose(1, 2).clone(memory_format=torch.contiguous_format).transpose(1, 2)
        for one in (query, key)
    ]
    turned = functions()["rope_backward" if back else "rope"](*own, cos, sin)
    return turned[0], turned[1]


def _gated(gate: Any, up: Any, activation: str) -> Any:
    return functions()[activation](gate, up)[2]


def _gated_backward(above: Any, gate: Any, up: Any, activation: str) -> tuple[Any, Any]:
    return functions()[f"{activation}_backward"](gate.clone(), up.clone(), above.contiguous())


# ---- elsewhere: the same in plain steps -------------------------------------------------------------------


def _rotate_plainly(query: Any, key: Any, cos: Any, sin: Any, back: bool) -> tuple[Any, Any]:
    cos, sin = cos[:, None], sin[:, None]

    def turned(one: Any) -> Any:
        out = turn(one, cos, sin, RotaryKind(), one.dtype, back)
        return out.transpose(1, 2).contiguous().transpose(1, 2)

    return turned(query), turned(key)


def _gated_plainly(gate: Any, up: Any, activation: str) -> Any:
    return activated(gate, activation).mul_(up)


def _gated_backward_plainly(above: Any, gate: Any, up: Any, activation: str) -> tuple[Any, Any]:
    return to_parts(above, gate, up, activation)


def _token_by_token(one: Any) -> Any:
    batch, heads, tokens, width = one.shape
    return one.new_empty((batch, tokens, heads, width)).transpose(1, 2)


def _register() -> None:
    for name, on_gpu, elsewhere in (
        ("liger_rotate", _rotate, _rotate_plainly),
        ("liger_gated", _gated, _gated_plainly),
        ("liger_gated_backward", _gated_backward, _gated_backward_plainly),
    ):
        _LIBRARY.impl(name, on_gpu, "CUDA")
        _LIBRARY.impl(name, elsewhere, "CPU")
    fakes = {
        "liger_rotate": lambda query, key, *_: (_token_by_token(query), _token_by_token(key)),
        "liger_gated": lambda gate, *_: torch.empty_like(gate),
        "liger_gated_backward": lambda above, gate, up, _: (torch.empty_like(gate), torch.empty_like(up)),
    }
    for name, fake in fakes.items():
        torch.library.register_fake(f"tui_tuner::{name}", fake, lib=_LIBRARY)


_register()


def rotate(query: Any, key: Any, cos: Any, sin: Any, back: bool = False) -> tuple[Any, Any]:
    """Queries and keys [batch, heads, tokens, head_dim] rotated by [batch or 1, tokens, width]; `back`: what
    gradients of these are for them."""
    return torch.ops.tui_tuner.liger_rotate(query, key, cos, sin, back)


def multiply(gate: Any, up: Any, activation: str) -> Any:
    """The activation of `gate` times `up`; both lie in one piece."""
    return torch.ops.tui_tuner.liger_gated(gate, up, activation)


def multiply_back(above: Any, gate: Any, up: Any, activation: str) -> tuple[Any, Any]:
    """Gradients of `gate` and `up` for that of the product."""
    return torch.ops.tui_tuner.liger_gated_backward(above, gate, up, activation)


__all__ = ["multiply", "multiply_back", "rotate", "usable"]
