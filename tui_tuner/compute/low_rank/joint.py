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
        if not all(one.is_plain() for one in self.members) or torch.compiler.is_compiling():
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
        shape = (*x.shape[:-1], -1)
        return [one.view(shape) for one in found]


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
        group, drops, count = ctx.group, ctx.drops, len(ctx.ranks)
        inputs, low, *rest = _unpacked(ctx.saved_tensors, max(1, drops))
        matrices, weights = rest[: 2 * count], rest[2 * count :]
        bases = [
            Base(layer, weight, state, kind)
            for weight, (layer, state, kind) in zip(weights, ctx.states, strict=True)
        ]
        copies = group.copies(ctx.dtype, matrices)
        wanted_x, wanted = ctx.needs_input_grad[1], ctx.needs_input_grad[3 + drops :]
        back = low.new_empty(low.shape) if any(one is not None for one in gradients) else None
        to_x, to_ups = None, []
        lows, backs = low.split(ctx.ranks, dim=1), [] if back is None else back.split(ctx.ranks, dim=1)
        for place, above in enumerate(gradients):
            if above is None:
                if back is not None:
                    backs[place].zero_()
                to_ups.append(None)
                continue
            _multiply(backs[place], above, copies.ups[place], ctx.scaling)
            like = matrices[count + place]
            to_ups.append(
                _product(above.t(), lows[place], like, group.wide) if wanted[count + place] else None
            )
            if wanted_x:
                numbers = bases[place].numbers(ctx.dtype)
                to_x = above @ numbers if to_x is None else to_x.addmm_(above, numbers)
                del numbers  # a dequantised weight must not be there beside the next one
        if back is None:
            return (None,) * (3 + drops + 2 * count)
        downs = copies.stacked.split(ctx.ranks)
        if drops:
            lead = ctx.needs_input_grad[3]
            to_dropped = [one @ down if lead else None for one, down in zip(backs, downs, strict=True)]
            to_downs = [
                _product(one.t(), own, like, group.wide)
                for one, own, like in zip(backs, inputs, matrices[:count], strict=True)
            ]
            return None, to_x, None, *to_dropped, *to_downs, *to_ups
        if wanted_x:
            to_x.addmm_(back, copies.stacked)
        to_downs = [None] * count
        if any(wanted[:count]):
            to_downs = _product(back.t(), inputs[0], matrices[0], group.wide).split(ctx.ranks)
        return None, to_x, None, *to_downs, *to_ups


def _unpacked(saved: Sequence[Any], inputs: int) -> tuple[Any, ...]:
    return (saved[:inputs], *saved[inputs:])


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
    if dtype not in (torch.bfloat16, torch.float16) or not hasattr(torch.ops.aten.mm, "dtype"):
        return False
    try:
        one = torch.zeros(16, 16, dtype=dtype, device=device)
        return bool(torch.mm(one, one, out_dtype=torch.float32).dtype == torch.float32)
    except (RuntimeError, TypeError):
        return False
