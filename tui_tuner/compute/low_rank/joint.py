"""LoRA layers with the same input, and their frozen weights, as one step of autograd: the way for GPUs.

For x [tokens, inputs] and layers i with frozen W_i, A_i [r_i, inputs] and B_i [outputs_i, r_i]:

    low   = s x [A_1; A_2; ..]^T                   one product for all layers
    out_i = x W_i^T + bias_i + low_i B_i^T         two products per layer, the second added to the first
    back_i = s g_i B_i                             g_i: the gradient of out_i
    dx    = sum g_i W_i + [back_1 back_2 ..] [A_1; A_2; ..]
    dA    = [back_1 back_2 ..]^T x                 one product for all layers
    dB_i  = g_i^T low_i

Kept for the backward pass are x, `low`, the float32 matrices and the frozen weights. Gradients of the
matrices come out of their products in the matrices' own dtype if the device can do that, without a separate
cast. With dropout each layer has a separate input for its A, from peft's module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.low_rank.bases import (
    EIGHT_BITS,
    FOUR_BITS,
    FrozenBase,
    is_base_weight_packed,
    read_base_weight,
)
from tui_tuner.compute.low_rank.shadow import MatrixCopies, ShadowCopies, make_stacked_copies
from tui_tuner.compute.precision import HALVES

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class LoraMember:
    """A LoRA layer of peft with one plain adapter.

    Args:
        layer: peft's layer.
        stock: peft's forward pass.
        name: The name of its adapter.
        kind: The kind of its frozen weight (`bases`).
    """

    layer: torch.nn.Module
    stock: Callable[..., Any]
    name: str
    kind: str

    @property
    def down_matrix(self) -> Tensor:
        """A [rank, inputs]."""
        return self.layer.lora_A[self.name].weight

    @property
    def up_matrix(self) -> Tensor:
        """B [outputs, rank]."""
        return self.layer.lora_B[self.name].weight

    @property
    def lora_scaling(self) -> float:
        return float(self.layer.scaling[self.name])

    @property
    def active_dropout(self) -> Any:
        """peft's dropout module if it is active now, else None."""
        module = self.layer.lora_dropout[self.name]
        return module if module.training and getattr(module, "p", 0.0) else None

    def is_plain(self) -> bool:
        """Return whether the layer still has one adapter, which is enabled and not merged."""
        # Asked in every pass: users and our own checks disable, merge and add adapters at any time.
        layer = self.layer
        if layer.disable_adapters or layer.merged or len(layer.lora_A) != 1:
            return False
        return bool(layer.active_adapters == [self.name]) and self.name in layer.lora_A


@dataclass(eq=False)
class LoraGroup:
    """Layers with the same input, in the order in which the model calls them.

    Args:
        number: Its number among the groups of a model.
        wide: Whether the device multiplies 16-bit matrices into float32 (`multiplies_into_float32`).
        shadow: Holds the 16-bit copies of its matrices; None to make them each time.
    """

    members: list[LoraMember]
    number: int = 0
    wide: bool = False
    shadow: ShadowCopies | None = None

    def list_matrices(self) -> list[Tensor]:
        """Return all A, then all B."""
        return [one.down_matrix for one in self.members] + [one.up_matrix for one in self.members]

    def is_copied(self, dtype: torch.dtype) -> bool:
        """Return whether its matrices must be copied: to stack several A, or to cast them."""
        return len(self.members) > 1 or any(one.dtype != dtype for one in self.list_matrices())

    def get_copies(self, dtype: torch.dtype, matrices: list[Tensor]) -> MatrixCopies:
        """Return its matrices in `dtype`, with all A stacked."""
        if not self.is_copied(dtype):
            return MatrixCopies(matrices[0], [matrices[1]], matrices)
        # Copies in float32 are for checks only, and would stay in memory.
        if self.shadow is not None and dtype in HALVES:
            return self.shadow.get_group_copies(self, dtype)
        return make_stacked_copies(matrices, dtype)

    def find_dtype(self, x: Tensor) -> torch.dtype | None:
        """Return the dtype to compute an input in; None if peft must compute it."""
        if torch.compiler.is_compiling() or not all(one.is_plain() for one in self.members):
            return None
        # All layers of a group have dropout or none has: the step below knows no mixture.
        if len({one.active_dropout is None for one in self.members}) > 1:
            return None
        place = x.device.type
        if place == "cpu" and any(is_base_weight_packed(one.layer.base_layer) for one in self.members):
            return None
        if torch.is_autocast_enabled(place):
            return torch.get_autocast_dtype(place) if x.is_floating_point() else None
        quantised = self.members[0].kind in (FOUR_BITS, EIGHT_BITS)
        same = quantised or self.members[0].layer.base_layer.weight.dtype == x.dtype
        return x.dtype if same and all(one.dtype == x.dtype for one in self.list_matrices()) else None

    def compute_outputs(self, x: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """Compute the output of every layer for x [.., inputs], in `dtype`."""
        x = x.to(dtype)
        rows = x.reshape(-1, x.shape[-1])
        dropping = [one.active_dropout for one in self.members]
        dropped = [] if dropping[0] is None else [module(x).reshape(rows.shape) for module in dropping]
        # The matrices are arguments, though the group has them: autograd must see what it differentiates.
        found = JointLora.apply(self, rows, len(dropped), *dropped, *self.list_matrices())
        return [one.view(*x.shape[:-1], one.shape[-1]) for one in found]


class JointLora(torch.autograd.Function):
    """The step described above. Arguments: a group, x, the number of dropped inputs, these, all A, all B."""

    @staticmethod
    def forward(ctx: Any, group: LoraGroup, rows: Tensor, drops: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        dropped, matrices = tensors[:drops], list(tensors[drops:])
        copies = group.get_copies(rows.dtype, matrices)
        scaling = group.members[0].lora_scaling
        ranks = [one.shape[0] for one in matrices[: len(group.members)]]
        low = rows.new_empty(len(rows), sum(ranks))
        lows = low.split(ranks, dim=1)
        if dropped:
            for part, own, down in zip(lows, dropped, copies.stacked.split(ranks), strict=True):
                _multiply_into(part, own, down.t(), scaling)
        else:
            _multiply_into(low, rows, copies.stacked.t(), scaling)
        bases = [read_base_weight(one.layer.base_layer, one.kind) for one in group.members]
        found = []
        for base, part, up in zip(bases, lows, copies.ups, strict=True):
            found.append(base.multiply_rows(rows).addmm_(part, up.t()))
        kept = [] if dropped else [rows]
        # The float32 matrices are kept, not their copies: autograd then reports changes in between.
        ctx.save_for_backward(*kept, *dropped, low, *matrices, *(base.weight for base in bases))
        ctx.group, ctx.drops, ctx.scaling, ctx.dtype = group, drops, scaling, rows.dtype
        ctx.states = [(base.layer, base.state, base.kind) for base in bases]
        ctx.ranks = ranks
        # An unused output has no gradient: zeros would cost its products in the backward pass.
        ctx.set_materialize_grads(False)
        return tuple(found)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        drops, ranks, wide, wanted = ctx.drops, ctx.ranks, ctx.group.wide, ctx.needs_input_grad
        if all(above is None for above in gradients):
            return (None,) * len(wanted)
        saved = list(ctx.saved_tensors)
        inputs, low, saved = saved[: max(1, drops)], saved[max(1, drops)], saved[max(1, drops) + 1 :]
        matrices, weights = saved[: 2 * len(ranks)], saved[2 * len(ranks) :]
        downs, ups = matrices[: len(ranks)], matrices[len(ranks) :]
        copies = ctx.group.get_copies(ctx.dtype, matrices)
        back = _backpropagate_ups(gradients, copies.ups, low, ranks, ctx.scaling)
        to_ups = [
            None if above is None else _multiply_as(above.t(), part, up, wide)
            for above, part, up in zip(gradients, low.split(ranks, dim=1), ups, strict=True)
        ]
        to_x = _backpropagate_weights(gradients, weights, ctx.states, ctx.dtype) if wanted[1] else None
        if not drops:
            if to_x is not None:
                to_x.addmm_(back, copies.stacked)
            to_downs = _multiply_as(back.t(), inputs[0], downs[0], wide).split(ranks)
            return None, to_x, None, *to_downs, *to_ups
        backs = back.split(ranks, dim=1)
        to_downs = [
            _multiply_as(one.t(), x, down, wide) for one, x, down in zip(backs, inputs, downs, strict=True)
        ]
        stacked = copies.stacked.split(ranks)
        to_dropped = [one @ down if wanted[3] else None for one, down in zip(backs, stacked, strict=True)]
        return None, to_x, None, *to_dropped, *to_downs, *to_ups


def _backpropagate_ups(
    gradients: Sequence[Tensor | None], ups: Sequence[Tensor], low: Tensor, ranks: list[int], s: float
) -> Tensor:
    """Return the gradients of the outputs of every A, side by side: [tokens, sum of ranks]."""
    back = low.new_empty(low.shape)
    for above, part, up in zip(gradients, back.split(ranks, dim=1), ups, strict=True):
        if above is None:  # the output of this layer was not used
            part.zero_()
        else:
            _multiply_into(part, above, up, s)
    return back


def _backpropagate_weights(
    gradients: Sequence[Tensor | None], weights: Sequence[Tensor], states: Any, dtype: torch.dtype
) -> Tensor | None:
    """Return the gradient of x through the frozen weights."""
    to_x: Any = None
    for above, weight, (layer, state, kind) in zip(gradients, weights, states, strict=True):
        if above is not None:
            numbers = FrozenBase(layer, weight, state, kind).dequantise_weight(dtype)
            to_x = above @ numbers if to_x is None else to_x.addmm_(above, numbers)
            # Else two dequantised weights would be in memory at once.
            del numbers
    return to_x


def _multiply_into(into: Tensor, left: Tensor, right: Tensor, scaling: float) -> None:
    """Compute `into = scaling left right` in one product."""
    # With beta=0 the uninitialised contents of `into` are ignored, even NaN.
    into.addmm_(left, right, beta=0, alpha=scaling)


def _multiply_as(left: Tensor, right: Tensor, like: Tensor, wide: bool) -> Tensor:
    """Return `left right` in the dtype of `like`."""
    if left.dtype == like.dtype:
        return left @ right
    if wide and like.dtype == torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return (left @ right).to(like.dtype)


def multiplies_into_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether 16-bit matrices can be multiplied into float32 there (CUDA, from torch 2.8)."""
    if dtype not in HALVES or not hasattr(torch.ops.aten.mm, "dtype"):
        return False
    try:
        one = torch.zeros(16, 16, dtype=dtype, device=device)
        return bool(torch.mm(one, one, out_dtype=torch.float32).dtype == torch.float32)
    except (RuntimeError, TypeError):
        return False
