"""LoRA layers that read the same input, and their frozen weights, as one step of autograd: the way of GPUs.

For x [tokens, inputs] and layers i with frozen W_i, A_i [r_i, inputs] and B_i [outputs_i, r_i]:

    low   = s x [A_1; A_2; ..]^T                   one product for all layers
    out_i = x W_i^T + bias_i + low_i B_i^T         two products a layer, the second added to the first
    back_i = s g_i B_i                             g_i: the gradient of out_i
    dx    = sum g_i W_i + [back_1 back_2 ..] [A_1; A_2; ..]
    dA    = [back_1 back_2 ..]^T x                 one product for all layers
    dB_i  = g_i^T low_i

What is kept for the way back are x, `low`, the float32 matrices and the frozen weights. Gradients of the
matrices come out of their products in the matrices' own dtype where the device can do that, without a pass
that casts them. With dropout each layer has an input of its own, from peft's module, for its A.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tui_tuner.compute.low_rank.bases import EIGHT_BITS, FOUR_BITS, Base, base_of, is_packed
from tui_tuner.compute.low_rank.shadow import Copies, Shadow, stacked_copies
from tui_tuner.compute.precision import HALVES


@dataclass
class Member:
    """A LoRA layer of peft with one plain adapter.

    Args:
        layer: peft's layer.
        stock: Its own forward pass.
        name: Its adapter.
        kind: The sort of its frozen weight (`bases`).
    """

    layer: Any
    stock: Callable[..., Any]
    name: str
    kind: str

    @property
    def down(self) -> Any:
        """A [rank, inputs]."""
        return self.layer.lora_A[self.name].weight

    @property
    def up(self) -> Any:
        """B [outputs, rank]."""
        return self.layer.lora_B[self.name].weight

    @property
    def scaling(self) -> float:
        return float(self.layer.scaling[self.name])

    @property
    def dropout(self) -> Any:
        """peft's module where it drops something now, else None."""
        module = self.layer.lora_dropout[self.name]
        return module if module.training and getattr(module, "p", 0.0) else None

    def is_plain(self) -> bool:
        """Whether the layer is still what it was: its one adapter switched on and not merged."""
        layer = self.layer
        if layer.disable_adapters or layer.merged or len(layer.lora_A) != 1:
            return False
        return bool(layer.active_adapters == [self.name]) and self.name in layer.lora_A


@dataclass(eq=False)
class Group:
    """Layers that read the same input, in the order in which the model calls them.

    Args:
        number: Its place among the groups of a model.
        wide: Whether the device multiplies 16-bit numbers into float32 ones (`multiplies_into_float32`).
        shadow: Where the 16-bit copies of its matrices are; None makes them each time.
    """

    members: list[Member]
    number: int = 0
    wide: bool = False
    shadow: Shadow | None = None

    def matrices(self) -> list[Any]:
        """All A, then all B."""
        return [one.down for one in self.members] + [one.up for one in self.members]

    def is_copied(self, dtype: Any) -> bool:
        """Whether its matrices are not used as they are."""
        return len(self.members) > 1 or any(one.dtype != dtype for one in self.matrices())

    def copies(self, dtype: Any, matrices: list[Any]) -> Copies:
        """Its matrices in `dtype`, those A one below the other."""
        if not self.is_copied(dtype):
            return Copies(matrices[0], [matrices[1]], matrices)
        if self.shadow is not None and dtype in HALVES:  # float32 is for checks, and not kept
            return self.shadow.copies(self, dtype)
        return stacked_copies(matrices, dtype)

    def takes(self, x: Any) -> Any:
        """The dtype to compute an input in; None where peft has to."""
        if torch.compiler.is_compiling() or not all(one.is_plain() for one in self.members):
            return None
        if len({one.dropout is None for one in self.members}) > 1:
            return None
        place = x.device.type
        if place == "cpu" and any(is_packed(one.layer.base_layer) for one in self.members):
            return None
        if torch.is_autocast_enabled(place):
            return torch.get_autocast_dtype(place) if x.is_floating_point() else None
        quantised = self.members[0].kind in (FOUR_BITS, EIGHT_BITS)
        same = quantised or self.members[0].layer.base_layer.weight.dtype == x.dtype
        return x.dtype if same and all(one.dtype == x.dtype for one in self.matrices()) else None

    def compute(self, x: Any, dtype: Any) -> list[Any]:
        """What every layer returns for x [.., inputs], computed in `dtype`."""
        x = x.to(dtype)
        rows = x.reshape(-1, x.shape[-1])
        dropping = [one.dropout for one in self.members]
        dropped = [] if dropping[0] is None else [module(x).reshape(rows.shape) for module in dropping]
        found = Joint.apply(self, rows, len(dropped), *dropped, *self.matrices())
        return [one.view(*x.shape[:-1], one.shape[-1]) for one in found]


class Joint(torch.autograd.Function):
    """The step described above. Arguments: a group, x, how many dropped inputs, these, all A, all B."""

    @staticmethod
    def forward(ctx: Any, group: Group, rows: Any, drops: int, *tensors: Any) -> Any:
        dropped, matrices = tensors[:drops], list(tensors[drops:])
        copies = group.copies(rows.dtype, matrices)
        scaling = group.members[0].scaling
        ranks = [one.shape[0] for one in matrices[: len(group.members)]]
        low = rows.new_empty(len(rows), sum(ranks))
        lows = low.split(ranks, dim=1)
        if dropped:
            for part, own, down in zip(lows, dropped, copies.stacked.split(ranks), strict=True):
                _multiply(part, own, down.t(), scaling)
        else:
            _multiply(low, rows, copies.stacked.t(), scaling)
        bases = [base_of(one.layer.base_layer, one.kind) for one in group.members]
        found = []
        for base, part, up in zip(bases, lows, copies.ups, strict=True):
            found.append(base.times(rows).addmm_(part, up.t()))
        kept = [] if dropped else [rows]
        ctx.save_for_backward(*kept, *dropped, low, *matrices, *(base.weight for base in bases))
        ctx.group, ctx.drops, ctx.scaling, ctx.dtype = group, drops, scaling, rows.dtype
        ctx.states = [(base.layer, base.state, base.kind) for base in bases]
        ctx.ranks = ranks
        ctx.set_materialize_grads(False)
        return tuple(found)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        drops, ranks, wide, wanted = ctx.drops, ctx.ranks, ctx.group.wide, ctx.needs_input_grad
        if all(above is None for above in gradients):
            return (None,) * len(wanted)
        saved = list(ctx.saved_tensors)
        inputs, low, saved = saved[: max(1, drops)], saved[max(1, drops)], saved[max(1, drops) + 1 :]
        matrices, weights = saved[: 2 * len(ranks)], saved[2 * len(ranks) :]
        downs, ups = matrices[: len(ranks)], matrices[len(ranks) :]
        copies = ctx.group.copies(ctx.dtype, matrices)
        back = _through_ups(gradients, copies.ups, low, ranks, ctx.scaling)
        to_ups = [
            None if above is None else _product(above.t(), part, up, wide)
            for above, part, up in zip(gradients, low.split(ranks, dim=1), ups, strict=True)
        ]
        to_x = _through_weights(gradients, weights, ctx.states, ctx.dtype) if wanted[1] else None
        if not drops:
            if to_x is not None:
                to_x.addmm_(back, copies.stacked)
            to_downs = _product(back.t(), inputs[0], downs[0], wide).split(ranks)
            return None, to_x, None, *to_downs, *to_ups
        backs = back.split(ranks, dim=1)
        to_downs = [
            _product(one.t(), x, down, wide) for one, x, down in zip(backs, inputs, downs, strict=True)
        ]
        stacked = copies.stacked.split(ranks)
        to_dropped = [one @ down if wanted[3] else None for one, down in zip(backs, stacked, strict=True)]
        return None, to_x, None, *to_dropped, *to_downs, *to_ups


def _through_ups(gradients: Sequence[Any], ups: Sequence[Any], low: Any, ranks: list[int], s: float) -> Any:
    """The gradients of what every A gives, side by side: [tokens, sum of ranks]."""
    back = low.new_empty(low.shape)
    for above, part, up in zip(gradients, back.split(ranks, dim=1), ups, strict=True):
        if above is None:  # nobody used what this layer returned
            part.zero_()
        else:
            _multiply(part, above, up, s)
    return back


def _through_weights(gradients: Sequence[Any], weights: Sequence[Any], states: Any, dtype: Any) -> Any:
    """The gradient of x by way of the frozen weights."""
    to_x: Any = None
    for above, weight, (layer, state, kind) in zip(gradients, weights, states, strict=True):
        if above is not None:
            numbers = Base(layer, weight, state, kind).numbers(dtype)
            to_x = above @ numbers if to_x is None else to_x.addmm_(above, numbers)
            del numbers  # a dequantised weight must not be there beside the next one
    return to_x


def _multiply(into: Any, left: Any, right: Any, scaling: float) -> None:
    """`into = scaling left right`, in one product."""
    into.addmm_(left, right, beta=0, alpha=scaling)


def _product(left: Any, right: Any, like: Any, wide: bool) -> Any:
    """`left right` in the dtype of `like`."""
    if left.dtype == like.dtype:
        return left @ right
    if wide and like.dtype == torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return (left @ right).to(like.dtype)


def multiplies_into_float32(device: Any, dtype: Any) -> bool:
    """Whether a product of 16-bit matrices can come out in float32 there (CUDA, from torch 2.8)."""
    if dtype not in HALVES or not hasattr(torch.ops.aten.mm, "dtype"):
        return False
    try:
        one = torch.zeros(16, 16, dtype=dtype, device=device)
        return bool(torch.mm(one, one, out_dtype=torch.float32).dtype == torch.float32)
    except (RuntimeError, TypeError):
        return False
