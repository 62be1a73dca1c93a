"""The product of a gated feed-forward layer, `activation(gate) * up`, as one step of autograd.

It keeps gate and up, and neither the activation nor the product's other factor: one tensor of
[tokens, width] a layer less than autograd does, which is computed again on the way back. Where Liger is
installed that is also fewer kernels: one forward. Linear layers are called as modules, whatever they are:
plain, quantised, with LoRA, computed together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any

import torch
from torch.nn import functional

from tui_tuner.compute.kernels import liger
from tui_tuner.compute.kernels.probe import Draws, Numbers, agree, proves
from tui_tuner.compute.kernels.steps import ACTIVATIONS, activated, times_slope, to_parts

WIDTH, TOKENS = 32, 6  # of a try


class Gated(torch.autograd.Function):
    """`activation(gate) * up`, for two tensors [..., width] of one dtype."""

    @staticmethod
    def forward(ctx: Any, gate: Any, up: Any, activation: str, fast: bool) -> Any:
        ctx.save_for_backward(gate, up)
        ctx.activation, ctx.fast = activation, fast
        return liger.multiply(gate, up, activation) if fast else activated(gate, activation).mul_(up)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        gate, up = ctx.saved_tensors
        back = liger.multiply_back if ctx.fast else to_parts
        return *back(gradients[0], gate, up, ctx.activation), None, None


class GatedHalves(torch.autograd.Function):
    """The same for gate and up as halves of one tensor [..., 2 width], whose gradient is one tensor too."""

    @staticmethod
    def forward(ctx: Any, both: Any, activation: str, gate_first: bool) -> Any:
        ctx.save_for_backward(both)
        ctx.activation, ctx.gate_first = activation, gate_first
        gate, up = _parts(both, gate_first)
        return activated(gate, activation).mul_(up)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (both,) = ctx.saved_tensors
        above = gradients[0]
        gate, up = _parts(both, ctx.gate_first)
        to_both = torch.empty_like(both)
        to_gate, to_up = _parts(to_both, ctx.gate_first)
        torch.mul(activated(gate, ctx.activation), above, out=to_up)
        times_slope(above * up, gate, ctx.activation, into=to_gate)
        return to_both, None, None


def _parts(both: Any, gate_first: bool) -> tuple[Any, Any]:
    first, second = both.chunk(2, dim=-1)
    return (first, second) if gate_first else (second, first)


@dataclass(frozen=True)
class GatedKind:
    """How a module is made.

    Args:
        gate: The name of the linear layer of the gate, or of the one that gives gate and up at once.
        up: That of the other; empty where one gives both.
        down: That of the last linear layer.
        activation: Between them.
        gate_first: The gate is the first half of both.
        fast: Use Liger's kernel.
    """

    gate: str
    up: str
    down: str
    activation: str
    gate_first: bool = True
    fast: bool = False


def forward(module: Any, stock: Any, kind: GatedKind, *args: Any, **kwargs: Any) -> Any:
    """The forward pass of a feed-forward layer with the product as one step."""
    if len(args) != 1 or kwargs:
        return stock(*args, **kwargs)
    gate = getattr(module, kind.gate)(args[0])
    if not kind.up:
        product = GatedHalves.apply(gate, kind.activation, kind.gate_first)
        return getattr(module, kind.down)(product)
    up = getattr(module, kind.up)(args[0])
    if gate.dtype != up.dtype:
        product = activated(gate, kind.activation) * up
    else:
        fast = kind.fast and gate.is_contiguous() and up.is_contiguous()
        product = Gated.apply(gate, up, kind.activation, fast)
    return getattr(module, kind.down)(product)


def kind_of(module: Any, device: Any, numbers: list[Numbers], fast: bool) -> GatedKind | None:
    """How a feed-forward layer is made, found by trying; None where it is none of this kind.

    Args:
        fast: Try Liger's kernel first.
    """
    for kind in _candidates(module, fast):
        if proves(partial(_is, kind, module, device, numbers)):
            return kind
    return None


def _is(kind: GatedKind, module: Any, device: Any, numbers: list[Numbers]) -> bool:
    return all(_agrees(kind, module, device, one) for one in numbers)


def looks_gated(module: Any) -> bool:
    """Whether a module may be a gated feed-forward layer."""
    return next(_candidates(module, False), None) is not None


def _candidates(module: Any, fast: bool) -> Iterator[GatedKind]:
    """What a module may be: two or three linear layers, and nothing else that has weights or is random."""
    if "forward" in module.__dict__:
        return
    sizes: dict[str, tuple[int, int]] = {}
    for name, child in module.named_children():
        size = size_of(child)
        if size is not None:
            sizes[name] = size
        elif getattr(child, "p", 0.0) or any(True for _ in child.parameters()):
            return
    if any(one is not None for one in module._parameters.values()) or len(sizes) not in (2, 3):
        return
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


def size_of(module: Any) -> tuple[int, int] | None:
    """Inputs and outputs of a linear layer, whatever it is made of."""
    found = getattr(module, "in_features", None), getattr(module, "out_features", None)
    return found if isinstance(found[0], int) and isinstance(found[1], int) else None  # type: ignore[return-value]


def _agrees(kind: GatedKind, module: Any, device: Any, numbers: Numbers) -> bool:
    """With small functions in the place of the linear layers: what lies between them is what is tried."""
    draws = Draws(device)
    x = draws.normal(2, TOKENS, WIDTH, dtype=numbers.dtype).requires_grad_()
    dtype = numbers.autocast or numbers.dtype
    width = WIDTH if kind.up else 2 * WIDTH
    made = {kind.gate: width, kind.up: width, kind.down: WIDTH}
    stands = {name: _linear(draws, size, dtype) for name, size in made.items() if name}
    with numbers.computing(torch.device(device)), _standing(module, stands):
        return agree(
            lambda: [forward(module, None, kind, x)], lambda: [module.forward(x)], [x], numbers.close
        )


def _linear(draws: Draws, width: int, dtype: Any) -> Callable[[Any], Any]:
    weight = draws.normal(width, WIDTH, dtype=dtype) / WIDTH**0.5
    return lambda x: functional.linear(x.to(dtype), weight)


@contextlib.contextmanager
def _standing(module: Any, stands: dict[str, Callable[[Any], Any]]) -> Iterator[None]:
    """Other functions for the forward passes of some children, for a while."""
    kept = {name: module._modules[name] for name in stands}
    try:
        for name, function in stands.items():
            module._modules[name] = _Stand(function)
        yield
    finally:
        module._modules.update(kept)


class _Stand(torch.nn.Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)
