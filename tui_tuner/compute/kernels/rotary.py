"""Rotary position embeddings of queries and keys with few kernels.

transformers rotates by ten element-wise kernels forward and fourteen back a layer, most of which write a
whole tensor that the next one reads. Here each of the two is scaled by the cosines, and the sines' part is
added to its halves in place: three kernels, and three on the way back, which keeps only cosines and sines.
Where Liger is installed its kernel does both at once.

A model's attention calls a function of its module by name. The attention of one model gets a copy of its
own forward function that finds another function under that name; the module, and every other model, keep
theirs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import FunctionType
from typing import Any

import torch

from tui_tuner.compute.kernels import liger
from tui_tuner.compute.kernels.probe import Draws, Numbers, agree, proves
from tui_tuner.compute.kernels.steps import RotaryKind, turn

HEADS, KEY_HEADS, TOKENS = 4, 2, 5  # of a try


KINDS = tuple(
    RotaryKind(pairs, repeated, narrow)
    for pairs, repeated in ((False, False), (True, False), (True, True))
    for narrow in (False, True)
)
FAST = (RotaryKind(), RotaryKind(narrow=True))  # what Liger's kernel computes


class Rotation(torch.autograd.Function):
    """Queries and keys rotated; gradients for both, and none for cosines and sines."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, cos: Any, sin: Any, kind: RotaryKind, fast: bool) -> Any:
        ctx.save_for_backward(cos, sin)
        ctx.kind, ctx.fast, ctx.dtype = kind, fast, query.dtype
        if fast:
            return liger.rotate(query, key, cos, sin)
        cos, sin = cos[:, None], sin[:, None]
        dtype = query.dtype
        if not kind.narrow and cos.dtype != dtype:
            dtype = torch.promote_types(dtype, cos.dtype)
        return turn(query, cos, sin, kind, dtype), turn(key, cos, sin, kind, dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        cos, sin = ctx.saved_tensors
        query, key = gradients
        if ctx.fast:
            return *liger.rotate(query, key, cos, sin, back=True), None, None, None, None
        cos, sin = cos[:, None], sin[:, None]
        back = (turn(one, cos, sin, ctx.kind, ctx.dtype, back=True) for one in (query, key))
        return *back, None, None, None, None


@dataclass(frozen=True)
class Rotate:
    """Stands for a model's own function, which it calls for whatever was not proved.

    Args:
        stock: The function it stands for.
        kind: What that one computes.
        proved: Dtypes of queries and of cosines that it was tried with.
        some: It was tried with fewer cosines than a head has dimensions.
        fast: Use Liger's kernel.
    """

    stock: Callable[..., Any]
    kind: RotaryKind
    proved: frozenset[tuple[Any, Any]]
    some: bool = False
    fast: bool = False

    def __call__(self, query: Any, key: Any, cos: Any, sin: Any, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or not self._takes(query, key, cos, sin):
            return self.stock(query, key, cos, sin, *args, **kwargs)
        fast = self.fast and query.dtype == cos.dtype
        return Rotation.apply(query, key, cos, sin, self.kind, fast)

    def _takes(self, query: Any, key: Any, cos: Any, sin: Any) -> bool:
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


def rotating_names(module: Any) -> tuple[str, ...]:
    """Names by which a module's forward pass finds functions that rotate; none where it is no plain one."""
    function = type(module).forward
    if "forward" in module.__dict__ or type(function) is not FunctionType:
        return ()
    if hasattr(function, "__wrapped__"):  # what is wrapped around it would be lost
        return ()
    return tuple(
        name
        for name in function.__code__.co_names
        if "rotary" in name
        and callable(function.__globals__.get(name))
        and not inspect.isclass(function.__globals__[name])
    )


def prove(
    stock: Any, width: int, rotated: int, device: Any, numbers: Sequence[Numbers], fast: bool
) -> Rotate | None:
    """What stands for a function, found by trying; None where it computes something else.

    Args:
        width: Of a head.
        rotated: Dimensions of it that are rotated.
        fast: Try Liger's kernel first.
    """
    dtypes = list(dict.fromkeys(one.dtype for one in numbers))
    combinations = frozenset((one, other) for one in dtypes for other in dtypes)
    # some split a head before they call the function, and some leave that to it
    for size in dict.fromkeys((width, rotated)):
        for kind in KINDS:
            plain = Rotate(stock, kind, combinations, size != rotated)
            if not _is(plain, size, rotated, device, numbers):
                continue
            quick = replace(plain, fast=True)
            if fast and kind in FAST and _is(quick, size, rotated, device, numbers):
                return quick
            return plain
    return None


def _is(ours: Rotate, width: int, rotated: int, device: Any, numbers: Sequence[Numbers]) -> bool:
    return proves(lambda: all(_agrees(ours, width, rotated, device, one) for one in numbers))


def _agrees(ours: Rotate, width: int, rotated: int, device: Any, numbers: Numbers) -> bool:
    """Also with cosines in other numbers than the queries, and for a row of one token."""
    for dtype, tokens in ((numbers.dtype, TOKENS), (torch.float32, TOKENS), (numbers.dtype, 1)):
        if (numbers.dtype, dtype) not in ours.proved:
            continue
        draws = Draws(device)
        query, key = (
            draws.normal(2, tokens, heads, width, dtype=numbers.dtype).transpose(1, 2).requires_grad_()
            for heads in (HEADS, KEY_HEADS)
        )
        angles = draws.normal(1, tokens, rotated // 2)
        # Liger reads one half for both
        angles = torch.cat((angles, angles if ours.fast else draws.normal(1, tokens, rotated // 2)), dim=-1)
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        if ours.kind.pairs and not ours.kind.repeated:
            cos, sin = (one[..., : rotated // 2].repeat_interleave(2, dim=-1) for one in (cos, sin))
        with numbers.computing(torch.device(device)):
            right = agree(
                partial(ours, query, key, cos, sin),
                partial(ours.stock, query, key, cos, sin),
                [query, key],
                numbers.close,
            )
        if not right:
            return False
    return True


@cache
def rebuilt(function: FunctionType, replaced: tuple[tuple[str, Any], ...]) -> FunctionType:
    """The same function, which finds other things under some names of its module."""
    names = {**function.__globals__, **dict(replaced)}
    made = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__
    return made


def forward(module: Any, replaced: tuple[tuple[str, Any], ...], *args: Any, **kwargs: Any) -> Any:
    """The forward pass of an attention whose function for rotations is replaced."""
    function: Any = type(module).forward
    return rebuilt(function, replaced)(module, *args, **kwargs)
