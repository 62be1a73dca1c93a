"""Kernels of the package liger-kernel, where it is installed: it is never needed.

Only functions of it are used, not its models: rotations, and gated activations. Each is an operation of our
own here, so that what it launches is known without a GPU, and can be tried without one. Its kernels write
into what they are given, and get copies of what others keep.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from functools import cache
from typing import Any

import torch

from tui_tuner.compute.kernels.declared import declare_launches
from tui_tuner.locales import _
from tui_tuner.models.device import Device
from tui_tuner.text import one_line

PACKAGE = "liger-kernel"
LEAST, BELOW = (0, 5), (0, 9)  # the versions that are known to have these functions
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


def version() -> str:
    """The installed version; empty without one."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return ""


def why_not(device: Device) -> str:
    """Why its kernels are not used on a device, as far as that can be told without importing it; empty if
    they are."""
    found = version()
    if device.kind != "cuda":
        return _("its kernels run on GPUs")
    if not found:
        return _("not installed (pip install 'tui-tuner[gpu]')")
    if not LEAST <= _numbers(found) < BELOW:
        return _("version {version} is not one that is known here", version=one_line(found))
    if importlib.util.find_spec("triton") is None:
        return _("Triton is not installed")
    return ""


def _numbers(name: str) -> tuple[int, int]:
    parts = [int(part) if part.isdigit() else 0 for part in name.split(".")[:2]]
    return (parts[0], parts[1]) if len(parts) == 2 else (parts[0] if parts else 0, 0)


@cache
def functions() -> dict[str, Any]:
    """Its functions by name; none where it cannot be imported, of which a warning tells."""
    try:
        from liger_kernel.ops.geglu import geglu_backward, geglu_forward
        from liger_kernel.ops.rope import rope_backward, rope_forward
        from liger_kernel.ops.swiglu import swiglu_backward, swiglu_forward
    except Exception as error:  # built for another torch or Triton
        warnings.warn(
            _("liger-kernel cannot be used: {problem}", problem=one_line(error, 200)), stacklevel=2
        )
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
    return not why_not(device) and (not torch.cuda.is_available() or bool(functions()))


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
    from tui_tuner.compute.kernels.rotary import RotaryKind, turn

    cos, sin = cos[:, None], sin[:, None]
    turned = (turn(one, cos, sin, RotaryKind(), one.dtype, back) for one in (query, key))
    return next(turned), next(turned)


def _gated_plainly(gate: Any, up: Any, activation: str) -> Any:
    from tui_tuner.compute.kernels.gated import activated

    return activated(gate, activation).mul_(up)


def _gated_backward_plainly(above: Any, gate: Any, up: Any, activation: str) -> tuple[Any, Any]:
    from tui_tuner.compute.kernels.gated import to_parts

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


__all__ = ["multiply", "multiply_back", "rotate", "usable", "version", "why_not"]
