"""16-bit copies of a model's LoRA matrices, made in one call for all of them.

The matrices are trained in float32 and multiplied in 16 bits. Autocast would cast each of them in each layer
of each pass. Here one call casts them for the whole model when a forward pass begins, into one allocation in
which the A of layers that are computed together are stacked.

Autograd never keeps a copy for the backward pass, but the matrices themselves, so it reports changes in
between as it does with peft. A copy is refreshed

- when a forward pass of the model begins, whatever happened to the matrices before;
- in a call of a single layer outside of a pass of the model;
- when a matrix was replaced, moved or changed in place since (its version), also in the backward pass, where
  layers may be recomputed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

ALIGN = 64  # elements: 128 bytes in 16 bits, an alignment at which matrix kernels are fast


@dataclass
class MatrixCopies:
    """The copies of one group in one dtype: all A [sum of ranks, inputs], and each B [outputs, rank]."""

    stacked: Tensor
    ups: list[Tensor]
    parts: list[Tensor]  # a view for each matrix: all A, then all B
    seen: tuple[Any, ...] = ()


@dataclass
class ShadowCopies:
    """The copies for all groups of a model, by (dtype, device).

    Attributes:
        stale: Keys of `held` whose copies are older than the current pass of the model.
        passes: The modules whose passes are running, outermost first, by thread.
    """

    groups: list[Any] = field(default_factory=list)
    held: dict[tuple[torch.dtype, torch.device], dict[int, MatrixCopies]] = field(default_factory=dict)
    stale: set[tuple[torch.dtype, torch.device]] = field(default_factory=set)
    passes: dict[int, list[torch.nn.Module]] = field(default_factory=dict)

    def begin_pass(self, module: torch.nn.Module, *_unused: Any) -> None:
        """Note the start of a pass of the model, or of a part with all its layers: a forward pre-hook."""
        if torch.compiler.is_compiling():
            return
        passes = self.passes.setdefault(threading.get_ident(), [])
        # An earlier pass was interrupted in a way that calls no hooks, such as Ctrl-C.
        if module in passes:
            passes.clear()
        if not passes:
            self.stale.update(self.held)
        passes.append(module)

    def end_pass(self, *_unused: Any) -> None:
        """Note the end of a pass: a forward hook, also called if it failed."""
        if torch.compiler.is_compiling():
            return
        thread = threading.get_ident()
        passes = self.passes.get(thread, [])
        if passes:
            passes.pop()
        if not passes:
            self.passes.pop(thread, None)

    def get_group_copies(self, group: Any, dtype: torch.dtype) -> MatrixCopies:
        """Return up-to-date copies of a group's matrices."""
        matrices = group.list_matrices()
        key = (dtype, matrices[0].device)
        held = self.held.get(key)
        if held is None or group.number not in held:
            held = self._make_copies(key)
            self.stale.add(key)
        one = held[group.number]
        # The first group of a pass refreshes all groups, in one call.
        if key in self.stale:
            self._refresh_copies(held)
            self.stale.discard(key)
        elif one.seen != describe_shadow_state(matrices) or not (self._is_inside_pass() or _is_in_backward()):
            refresh_shadow_copies(one, matrices)
        return one

    def _is_inside_pass(self) -> bool:
        return threading.get_ident() in self.passes

    def _make_copies(self, key: tuple[torch.dtype, torch.device]) -> dict[int, MatrixCopies]:
        """Allocate the copies of all groups on a device, as one tensor."""
        dtype, device = key
        groups = [
            group
            for group in self.groups
            if group.list_matrices()[0].device == device and group.is_copied(dtype)
        ]
        sizes = [_align_up(sum(one.numel() for one in group.list_matrices())) for group in groups]
        # A tensor made in inference mode could not be written to in training.
        with torch.inference_mode(False):
            flat = torch.empty(sum(sizes), dtype=dtype, device=device)
        held = {
            group.number: _view_copies(part, group.list_matrices())
            for group, part in zip(groups, flat.split(sizes), strict=True)
        }
        self.held[key] = held
        return held

    def _refresh_copies(self, held: dict[int, MatrixCopies]) -> None:
        into: list[Any] = []
        matrices: list[Any] = []
        for group in self.groups:
            one = held.get(group.number)
            if one is not None:
                own = group.list_matrices()
                one.seen = describe_shadow_state(own)
                into += one.parts
                matrices += own
        with torch.no_grad():
            torch._foreach_copy_(into, matrices)


def refresh_shadow_copies(copies: MatrixCopies, matrices: Sequence[Tensor]) -> None:
    """Refresh the copies of one group."""
    copies.seen = describe_shadow_state(matrices)
    with torch.no_grad():
        torch._foreach_copy_(copies.parts, list(matrices))


def describe_shadow_state(matrices: Sequence[Tensor]) -> tuple[Any, ...]:
    """Return values that change if a matrix is replaced, moved or changed in place."""
    return tuple((id(one), one._version, one.untyped_storage()._cdata) for one in matrices)


def make_stacked_copies(matrices: Sequence[Tensor], dtype: torch.dtype) -> MatrixCopies:
    """Return copies for a single use, of a group without a shadow."""
    size = _align_up(sum(one.numel() for one in matrices))
    copies = _view_copies(torch.empty(size, dtype=dtype, device=matrices[0].device), matrices)
    refresh_shadow_copies(copies, matrices)
    return copies


def _view_copies(flat: Tensor, matrices: Sequence[Tensor]) -> MatrixCopies:
    """Return views of `flat` for a group's matrices: all A stacked, then each B."""
    half = len(matrices) // 2
    downs, ups = matrices[:half], matrices[half:]
    height, width = sum(one.shape[0] for one in downs), downs[0].shape[1]
    stacked = flat[: height * width].view(height, width)
    place, views = height * width, []
    for one in ups:
        views.append(flat[place : place + one.numel()].view(one.shape))
        place += one.numel()
    parts = [*stacked.split([one.shape[0] for one in downs]), *views]
    return MatrixCopies(stacked, views, parts)


def _align_up(elements: int) -> int:
    return -(-elements // ALIGN) * ALIGN


def _is_in_backward() -> bool:
    """Return whether autograd is running a backward pass in this thread."""
    # Layers that are recomputed there must use the copies of their forward pass.
    return bool(torch._C._current_graph_task_id() != -1)
