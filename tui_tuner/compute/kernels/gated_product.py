"""The product of a gated feed-forward layer, `activation(gate) * up`, as one step of autograd.

It keeps gate and up but not the activation, which is recomputed in the backward pass: one tensor of
[tokens, width] per layer less than autograd keeps. With Liger it is also fewer kernels: one in the forward
pass. Linear layers are called as modules, so they may be quantised, have LoRA, or be computed together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from tui_tuner.compute.kernels import liger
from tui_tuner.compute.kernels.probe import Numbers, RandomDraws, has_same_results, try_kernel_proof
from tui_tuner.compute.kernels.steps import (
    ACTIVATIONS,
    apply_activation,
    compute_gated_gradients,
    multiply_by_slope,
)

if TYPE_CHECKING:
    from torch import Tensor

WIDTH, TOKENS = 32, 6  # of the test inputs


class GatedProduct(torch.autograd.Function):
    """`activation(gate) * up`, for two tensors [..., width] of one dtype."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, activation: str, fast: bool) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.activation, ctx.fast = activation, fast
        return (
            liger.multiply_gated_by_liger(gate, up, activation)
            if fast
            else apply_activation(gate, activation).mul_(up)
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        gate, up = ctx.saved_tensors
        back = liger.multiply_back_by_liger if ctx.fast else compute_gated_gradients
        return *back(gradients[0], gate, up, ctx.activation), None, None


class GatedHalves(torch.autograd.Function):
    """`activation(gate) * up` for halves of one tensor [..., 2 width], with one tensor as gradient."""

    @staticmethod
    def forward(ctx: Any, both: Tensor, activation: str, gate_first: bool) -> Tensor:
        ctx.save_for_backward(both)
        ctx.activation, ctx.gate_first = activation, gate_first
        gate, up = _split_parts(both, gate_first)
        return apply_activation(gate, activation).mul_(up)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (both,) = ctx.saved_tensors
        above = gradients[0]
        gate, up = _split_parts(both, ctx.gate_first)
        # Both gradients are written into one tensor: autograd would concatenate two.
        to_both = torch.empty_like(both)
        to_gate, to_up = _split_parts(to_both, ctx.gate_first)
        torch.mul(apply_activation(gate, ctx.activation), above, out=to_up)
        multiply_by_slope(above * up, gate, ctx.activation, into=to_gate)
        return to_both, None, None


def _split_parts(both: Tensor, gate_first: bool) -> tuple[Tensor, Tensor]:
    first, second = both.chunk(2, dim=-1)
    return (first, second) if gate_first else (second, first)


@dataclass(frozen=True)
class GatedKind:
    """The structure of a gated feed-forward layer.

    Args:
        gate: The name of the linear layer for the gate, or for gate and up at once.
        up: The name of the one for up; empty if one layer gives both.
        down: The name of the last linear layer.
        activation: The activation of the gate.
        gate_first: The gate is the first half of a joint output.
        fast: Use Liger's kernel.
    """

    gate: str
    up: str
    down: str
    activation: str
    gate_first: bool = True
    fast: bool = False


def forward_gated(module: torch.nn.Module, stock: Any, kind: GatedKind, *args: Any, **kwargs: Any) -> Tensor:
    """Compute a feed-forward layer with the product as one step of autograd."""
    # Only the plain call was tested.
    if len(args) != 1 or kwargs:
        return stock(*args, **kwargs)
    gate = getattr(module, kind.gate)(args[0])
    if not kind.up:
        product = GatedHalves.apply(gate, kind.activation, kind.gate_first)
        return getattr(module, kind.down)(product)
    up = getattr(module, kind.up)(args[0])
    if gate.dtype != up.dtype:
        product = apply_activation(gate, kind.activation) * up
    else:
        fast = kind.fast and gate.is_contiguous() and up.is_contiguous()
        product = GatedProduct.apply(gate, up, kind.activation, fast)
    return getattr(module, kind.down)(product)


def find_gated_kind(
    module: torch.nn.Module, device: torch.device, numbers: list[Numbers], fast: bool
) -> GatedKind | None:
    """Find the structure of a feed-forward layer by testing candidates; None if none matches.

    Args:
        fast: Test Liger's kernel first.
    """
    for kind in _list_candidate_kinds(module, fast):
        if try_kernel_proof(partial(_is_gated_kind, kind, module, device, numbers)):
            return kind
    return None


def _is_gated_kind(
    kind: GatedKind, module: torch.nn.Module, device: torch.device, numbers: list[Numbers]
) -> bool:
    return all(_agrees_with_module(kind, module, device, one) for one in numbers)


def looks_gated(module: torch.nn.Module) -> bool:
    """Return whether a module may be a gated feed-forward layer."""
    return next(_list_candidate_kinds(module, False), None) is not None


def _list_candidate_kinds(module: torch.nn.Module, fast: bool) -> Iterator[GatedKind]:
    """Yield candidates for a module of two or three linear layers, without other weights or dropout."""
    # Someone else has already replaced its forward pass.
    if "forward" in module.__dict__:
        return
    sizes: dict[str, tuple[int, int]] = {}
    for name, child in module.named_children():
        size = find_linear_size(child)
        if size is not None:
            sizes[name] = size
        elif getattr(child, "p", 0.0) or any(True for _ in child.parameters()):
            return
    if any(one is not None for one in module._parameters.values()) or len(sizes) not in (2, 3):
        return
    # Names and order of the layers differ between families, so all orders that fit by size are candidates.
    for names in permutations(sizes):
        *ups, down = names
        width, hidden = sizes[ups[0]][1], sizes[down][0]
        if hidden * (3 - len(ups)) != width or any(sizes[name] != sizes[ups[0]] for name in ups):
            continue
        for activation in ACTIVATIONS:
            if len(ups) == 1:
                yield GatedKind(ups[0], "", down, activation)
                yield GatedKind(ups[0], "", down, activation, gate_first=False)
                continue
            if fast and activation in liger.ACTIVATIONS:
                yield GatedKind(ups[0], ups[1], down, activation, fast=True)
            yield GatedKind(ups[0], ups[1], down, activation)


def find_linear_size(module: torch.nn.Module) -> tuple[int, int] | None:
    """Return inputs and outputs of a linear layer of any kind; None for other modules."""
    found = getattr(module, "in_features", None), getattr(module, "out_features", None)
    return found if isinstance(found[0], int) and isinstance(found[1], int) else None  # type: ignore[return-value]


def _agrees_with_module(
    kind: GatedKind, module: torch.nn.Module, device: torch.device, numbers: Numbers
) -> bool:
    """Test one candidate in one numeric format."""
    # Small random layers replace the linear ones, which may be huge or quantised: only what the module does
    # between them is tested.
    draws = RandomDraws(device)
    x = draws.draw_normal(2, TOKENS, WIDTH, dtype=numbers.dtype).requires_grad_()
    dtype = numbers.autocast or numbers.dtype
    width = WIDTH if kind.up else 2 * WIDTH
    made = {kind.gate: width, kind.up: width, kind.down: WIDTH}
    stands = {name: _draw_linear(draws, size, dtype) for name, size in made.items() if name}
    with numbers.enter_numbers(torch.device(device)), _replace_children(module, stands):
        return has_same_results(
            lambda: [forward_gated(module, None, kind, x)],
            lambda: [module.forward(x)],
            [x],
            numbers.allowed_difference,
        )


def _draw_linear(draws: RandomDraws, width: int, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    weight = draws.draw_normal(width, WIDTH, dtype=dtype) / WIDTH**0.5
    return lambda x: functional.linear(x.to(dtype), weight)


@contextlib.contextmanager
def _replace_children(
    module: torch.nn.Module, stands: dict[str, Callable[[Tensor], Tensor]]
) -> Iterator[None]:
    """Replace some children by functions within the context."""
    kept = {name: module._modules[name] for name in stands}
    try:
        for name, function in stands.items():
            module._modules[name] = _StandIn(function)
        yield
    finally:
        module._modules.update(kept)


class _StandIn(torch.nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)
