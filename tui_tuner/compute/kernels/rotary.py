"""Rotary position embeddings of queries and keys with few kernels.

transformers takes ten element-wise kernels forward and fourteen backward per layer, most of which write a
whole tensor that the next one reads. Here queries and keys are each scaled by the cosines, and the sines'
part is added to their halves in place: three kernels each way, and only cosines and sines are kept for the
backward pass. With Liger, one kernel rotates both.

A model's attention calls a function of its Python module by name. The attention of one model gets a copy of
its forward function that finds another function under that name; the Python module, and every other model,
keep theirs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.kernels import liger
from tui_tuner.compute.kernels.probe import Numbers, RandomDraws, has_same_results, try_kernel_proof
from tui_tuner.compute.kernels.steps import RotaryKind, turn_heads

if TYPE_CHECKING:
    from torch import Tensor

HEADS, KEY_HEADS, TOKENS = 4, 2, 5  # of the test inputs


KINDS = tuple(
    RotaryKind(pairs, repeated, narrow)
    for pairs, repeated in ((False, False), (True, False), (True, True))
    for narrow in (False, True)
)
FAST = (RotaryKind(), RotaryKind(narrow=True))  # what Liger's kernel computes


class Rotation(torch.autograd.Function):
    """Rotation of queries and keys, with gradients for both, but none for cosines and sines."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, kind: RotaryKind, fast: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(cos, sin)
        ctx.kind, ctx.fast, ctx.dtype = kind, fast, query.dtype
        if fast:
            return liger.rotate_heads_by_liger(query, key, cos, sin)
        cos, sin = cos[:, None], sin[:, None]
        dtype = query.dtype
        if not kind.narrow and cos.dtype != dtype:
            dtype = torch.promote_types(dtype, cos.dtype)
        return turn_heads(query, cos, sin, kind, dtype), turn_heads(key, cos, sin, kind, dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        query, key = gradients
        if ctx.fast:
            return *liger.rotate_heads_by_liger(query, key, cos, sin, back=True), None, None, None, None
        cos, sin = cos[:, None], sin[:, None]
        back = (turn_heads(one, cos, sin, ctx.kind, ctx.dtype, back=True) for one in (query, key))
        return *back, None, None, None, None


@dataclass(frozen=True)
class Rotator:
    """Replaces a model's own function, which it still calls for inputs unlike those of the tests.

    Args:
        stock: The function that is replaced.
        kind: The formula of that function.
        proved: Dtypes of queries and of cosines that it was tested with.
        some: It was tested with fewer cosines than a head has dimensions.
        fast: Use Liger's kernel.
    """

    stock: Callable[..., Any]
    kind: RotaryKind
    proved: frozenset[tuple[torch.dtype, torch.dtype]]
    some: bool = False
    fast: bool = False

    def __call__(
        self, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if args or kwargs or not self._takes_inputs(query, key, cos, sin):
            return self.stock(query, key, cos, sin, *args, **kwargs)
        fast = self.fast and query.dtype == cos.dtype
        return Rotation.apply(query, key, cos, sin, self.kind, fast)

    def _takes_inputs(self, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> bool:
        if not (query.dim() == key.dim() == 4 and cos.dim() == sin.dim() == 3):
            return False
        if cos.shape != sin.shape or query.dtype != key.dtype or cos.dtype != sin.dtype:
            return False
        width = query.shape[-1]
        if cos.shape[-1] % 2 or (cos.shape[-1] >= width if self.some else cos.shape[-1] != width):
            return False
        if cos.requires_grad or sin.requires_grad:
            return False
        return (query.dtype, cos.dtype) in self.proved


def list_rotating_names(module: torch.nn.Module) -> tuple[str, ...]:
    """List the names by which a module's forward pass calls rotary functions; empty if not copyable."""
    function = None if "forward" in module.__dict__ else find_innermost_function(type(module).forward)
    if function is None:
        return ()
    return tuple(
        name
        for name in function.__code__.co_names
        if "rotary" in name
        and callable(function.__globals__.get(name))
        and not inspect.isclass(function.__globals__[name])
    )


def find_innermost_function(function: Any) -> FunctionType | None:
    """Return the plain function inside decorators; None if one of them cannot be copied around another."""
    # Attention of transformers 5.24 has a decorator that renames an argument.
    while isinstance(function, FunctionType) and hasattr(function, "__wrapped__"):
        inner = function.__wrapped__
        if not any(_holds_function(cell, inner) for cell in function.__closure__ or ()):
            return None
        function = inner
    return function if type(function) is FunctionType else None


def _holds_function(cell: CellType, function: Any) -> bool:
    try:
        return cell.cell_contents is function
    except ValueError:  # The cell is empty.
        return False


def prove_rotation(
    stock: Any, width: int, rotated: int, device: torch.device, numbers: Sequence[Numbers], fast: bool
) -> Rotator | None:
    """Find a replacement for a function by testing candidates; None if none matches.

    Args:
        width: Dimensions of a head.
        rotated: How many of them are rotated.
        fast: Use Liger's kernel if it is exact.
    """
    dtypes = list(dict.fromkeys(one.dtype for one in numbers))
    combinations = frozenset((one, other) for one in dtypes for other in dtypes)
    # Some models split a head before they call the function, and some leave that to it.
    for size in dict.fromkeys((width, rotated)):
        for kind in KINDS:
            plain = Rotator(stock, kind, combinations, size != rotated)
            if not _is_same_rotation(plain, size, rotated, device, numbers):
                continue
            quick = replace(plain, fast=True)
            if fast and kind in FAST and _is_same_rotation(quick, size, rotated, device, numbers):
                return quick
            return plain
    return None


def _is_same_rotation(
    ours: Rotator, width: int, rotated: int, device: torch.device, numbers: Sequence[Numbers]
) -> bool:
    return try_kernel_proof(
        lambda: all(_agrees_with_stock(ours, width, rotated, device, one) for one in numbers)
    )


def _agrees_with_stock(
    ours: Rotator, width: int, rotated: int, device: torch.device, numbers: Numbers
) -> bool:
    """Test a candidate in one numeric format, also with float32 cosines, and for a single token."""
    for dtype, tokens in ((numbers.dtype, TOKENS), (torch.float32, TOKENS), (numbers.dtype, 1)):
        if (numbers.dtype, dtype) not in ours.proved:
            continue
        draws = RandomDraws(device)
        query, key = (
            draws.draw_normal(2, tokens, heads, width, dtype=numbers.dtype).transpose(1, 2).requires_grad_()
            for heads in (HEADS, KEY_HEADS)
        )
        angles = draws.draw_normal(1, tokens, rotated // 2)
        # Different halves tell kinds apart that read only one of them. Liger reads one half for both.
        angles = torch.cat(
            (angles, angles if ours.fast else draws.draw_normal(1, tokens, rotated // 2)), dim=-1
        )
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        if ours.kind.pairs and not ours.kind.repeated:
            cos, sin = (one[..., : rotated // 2].repeat_interleave(2, dim=-1) for one in (cos, sin))
        with numbers.enter_numbers(torch.device(device)):
            right = has_same_results(
                partial(ours, query, key, cos, sin),
                partial(ours.stock, query, key, cos, sin),
                [query, key],
                numbers.allowed_difference,
            )
        if not right:
            return False
    return True


@cache
def rebuild_function(function: FunctionType, replaced: tuple[tuple[str, Any], ...]) -> FunctionType:
    """Return a copy of a function, with its decorators, that finds other objects under some global names."""
    # Cached, because every forward pass of every layer asks for it.
    inner = getattr(function, "__wrapped__", None)
    names, closure = function.__globals__, function.__closure__
    if inner is None:
        names = {**names, **dict(replaced)}
    else:
        # A decorator calls the function it wraps through a cell of its closure.
        copied = CellType(rebuild_function(inner, replaced))
        closure = tuple(copied if _holds_function(cell, inner) else cell for cell in closure or ())
    made = FunctionType(function.__code__, names, function.__name__, function.__defaults__, closure)
    made.__kwdefaults__ = function.__kwdefaults__
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__
    return made


def forward_rotary(
    module: torch.nn.Module, replaced: tuple[tuple[str, Any], ...], *args: Any, **kwargs: Any
) -> Any:
    """Compute an attention module whose function for rotations is replaced."""
    function: Any = type(module).forward
    return rebuild_function(function, replaced)(module, *args, **kwargs)
