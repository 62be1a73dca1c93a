"""Kernels of the optional package liger-kernel.

Only its functions for rotary embeddings and gated activations are used, not its models. Each is wrapped in an
operation of our own, so its launches can be counted, and its place in a model tested, without a GPU.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.kernels.available_kernels import find_liger_problem
from tui_tuner.compute.kernels.kernel_launches import declare_launches
from tui_tuner.compute.kernels.steps import RotaryKind, apply_activation, compute_gated_gradients, turn_heads
from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.text import one_line

if TYPE_CHECKING:
    from torch import Tensor

ACTIVATIONS = ("silu", "gelu_tanh")  # of its gated kernels

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
def load_liger_functions() -> dict[str, Any]:
    """Load its functions by name; empty, with a warning, if it cannot be imported."""
    try:
        from liger_kernel.ops.geglu import geglu_backward, geglu_forward
        from liger_kernel.ops.rope import rope_backward, rope_forward
        from liger_kernel.ops.swiglu import swiglu_backward, swiglu_forward
    # A package that was built for another torch or Triton fails in many ways.
    except Exception as error:
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


def is_liger_usable(device: Device) -> bool:
    """Return whether its kernels may be tested on a device."""
    # Without a GPU, as in a trace with fake tensors, our plain implementation runs, so no import is needed.
    return not find_liger_problem(device) and (not torch.cuda.is_available() or bool(load_liger_functions()))


# ---- on a GPU: Liger's kernels ----------------------------------------------------------------------------


def _rotate_on_gpu(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, back: bool) -> tuple[Tensor, Tensor]:
    # The kernel writes into its inputs, which autograd may still need, and expects them token by token.
    own = [
        one.transpose(1, 2).clone(memory_format=torch.contiguous_format).transpose(1, 2)
        for one in (query, key)
    ]
    turned = load_liger_functions()["rope_backward" if back else "rope"](*own, cos, sin)
    return turned[0], turned[1]


def _multiply_on_gpu(gate: Tensor, up: Tensor, activation: str) -> Tensor:
    return load_liger_functions()[activation](gate, up)[2]


def _gated_backward(above: Tensor, gate: Tensor, up: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    # This kernel, too, writes its results into gate and up.
    return load_liger_functions()[f"{activation}_backward"](gate.clone(), up.clone(), above.contiguous())


# ---- elsewhere: the same in plain steps -------------------------------------------------------------------


def _rotate_plainly(
    query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, back: bool
) -> tuple[Tensor, Tensor]:
    cos, sin = cos[:, None], sin[:, None]

    def turned(one: Tensor) -> Tensor:
        out = turn_heads(one, cos, sin, RotaryKind(), one.dtype, back)
        return out.transpose(1, 2).contiguous().transpose(1, 2)

    return turned(query), turned(key)


def _gated_plainly(gate: Tensor, up: Tensor, activation: str) -> Tensor:
    return apply_activation(gate, activation).mul_(up)


def _gated_backward_plainly(
    above: Tensor, gate: Tensor, up: Tensor, activation: str
) -> tuple[Tensor, Tensor]:
    return compute_gated_gradients(above, gate, up, activation)


def _token_by_token(one: Tensor) -> Tensor:
    # The layout that the kernel returns: a fake result must have the same strides.
    batch, heads, tokens, width = one.shape
    return one.new_empty((batch, tokens, heads, width)).transpose(1, 2)


def _register_operations() -> None:
    for name, on_gpu, elsewhere in (
        ("liger_rotate", _rotate_on_gpu, _rotate_plainly),
        ("liger_gated", _multiply_on_gpu, _gated_plainly),
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


_register_operations()


def rotate_heads_by_liger(
    query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, back: bool = False
) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys [batch, heads, tokens, head_dim] by cos and sin [batch or 1, tokens, width].

    Args:
        back: Rotate gradients of the results into gradients of the inputs.
    """
    return torch.ops.tui_tuner.liger_rotate(query, key, cos, sin, back)


def multiply_gated_by_liger(gate: Tensor, up: Tensor, activation: str) -> Tensor:
    """Return the activation of `gate` times `up`, which must be contiguous."""
    return torch.ops.tui_tuner.liger_gated(gate, up, activation)


def multiply_back_by_liger(above: Tensor, gate: Tensor, up: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """Return the gradients of `gate` and `up` for the gradient `above` of their product."""
    return torch.ops.tui_tuner.liger_gated_backward(above, gate, up, activation)


__all__ = ["is_liger_usable", "multiply_back_by_liger", "multiply_gated_by_liger", "rotate_heads_by_liger"]
