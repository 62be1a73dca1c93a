"""16-bit copies of a model's LoRA matrices, made in one call for all of them.

The matrices are trained in float32 and multiplied in 16 bits. Autocast would cast each of them in each layer
of each pass; here one list of copies does it for the whole model when a forward pass begins, into one
allocation in which the A of layers that are computed together lie one below the other.

A copy is never what autograd keeps for the way back: the matrices themselves are, so that whoever changes
one in between is told as with peft. A copy is made anew

- when a forward pass of the model begins, whatever was done to the matrices before;
- in a call of a layer by itself, outside of a pass of the model;
- when a matrix is another tensor, lies elsewhere or was changed in place since (its version), also on the way
  back, where layers may be computed again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

ALIGN = 64  # elements: 128 bytes of 16-bit numbers, so that every matrix begins where kernels like it


@dataclass
class Copies:
    """The copies of one group in one dtype: its A [sum of ranks, inputs], each layer's B [outputs, rank]."""

    stacked: Any
    ups: list[Any]
    parts: list[Any]  # a view for each matrix: all A, then all B
    seen: tuple[Any, ...] = ()


@dataclass
class Shadow:
    """Copies for all groups of a model, by (dtype, device).

    Attributes:
        stale: Whether a pass of the model has begun since they were made, by (dtype, device).
        passes: The modules whose passes are under way, the outermost first, by thread.
    """

    groups: list[Any] = field(default_factory=list)
    held: dict[tuple[Any, Any], dict[int, Copies]] = field(default_factory=dict)
    stale: set[tuple[Any, Any]] = field(default_factory=set)
    passes: dict[int, list[Any]] = field(default_factory=dict)

    def begin(self, module: Any, *_unused: Any) -> None:
        """A pass of the model, or of a part that holds all its layers, begins: a forward pre-hook."""
        if torch.compiler.is_compiling():
            return
        passes = self.passes.setdefault(threading.get_ident(), [])
        if module in passes:  # it was cut off by what calls no hooks, such as Ctrl-C
            passes.clear()
        if not passes:
            self.stale.update(self.held)
        passes.append(module)

    def end(self, *_unused: Any) -> None:
        """It has ended, or failed: a forward hook."""
        if torch.compiler.is_compiling():
            return
        thread = threading.get_ident()
        passes = self.passes.get(thread, [])
        if passes:
            passes.pop()
        if not passes:
            self.passes.pop(thread, None)

    def copies(self, group: Any, dtype: Any) -> Copies:
        """Up-to-date copies of a group's matrices."""
        matrices = group.matrices()
        key = (dtype, matrices[0].device)
        held = self.held.get(key)
        if held is None or group.number not in held:
            held = self._make(key)
            self.stale.add(key)
        one = held[group.number]
        if key in self.stale:
            self._refresh(held)
            self.stale.discard(key)
        elif one.seen != state_of(matrices) or not (self._inside() or _on_the_way_back()):
            copy_into(one, matrices)
        return one

    def _inside(self) -> bool:
        return threading.get_ident() in self.passes

    def _make(self, key: tuple[Any, Any]) -> dict[int, Copies]:
        """Room for the copies of all groups on a device, in one allocation."""
        dtype, device = key
        groups = [
            group for group in self.groups if group.matrices()[0].device == device and group.is_copied(dtype)
        ]
        sizes = [_aligned(sum(one.numel() for one in group.matrices())) for group in groups]
        with torch.inference_mode(False):
            flat = torch.empty(sum(sizes), dtype=dtype, device=device)
        held = {
            group.number: _laid_out(part, group.matrices())
            for group, part in zip(groups, flat.split(sizes), strict=True)
        }
        self.held[key] = held
        return held

    def _refresh(self, held: dict[int, Copies]) -> None:
        into: list[Any] = []
        matrices: list[Any] = []
        for group in self.groups:
            one = held.get(group.number)
            if one is not None:
                own = group.matrices()
                one.seen = state_of(own)
                into += one.parts
                matrices += own
        with torch.no_grad():
            torch._foreach_copy_(into, matrices)


def copy_into(copies: Copies, matrices: Sequence[Any]) -> None:
    """Make the copies of one group anew."""
    copies.seen = state_of(matrices)
    with torch.no_grad():
        torch._foreach_copy_(copies.parts, list(matrices))


def state_of(matrices: Sequence[Any]) -> tuple[Any, ...]:
    """What differs once a matrix is replaced, moved or changed in place."""
    return tuple((id(one), one._version, one.untyped_storage()._cdata) for one in matrices)


def stacked_copies(matrices: Sequence[Any], dtype: Any) -> Copies:
    """Copies for once, of a group that belongs to no model's shadow."""
    size = _aligned(sum(one.numel() for one in matrices))
    copies = _laid_out(torch.empty(size, dtype=dtype, device=matrices[0].device), matrices)
    copy_into(copies, matrices)
    return copies


def _laid_out(flat: Any, matrices: Sequence[Any]) -> Copies:
    """Views of `flat` for a group's matrices: all A one below the other, then each B."""
    half = len(matrices) // 2
    downs, ups = matrices[:half], matrices[half:]
    height, width = sum(one.shape[0] for one in downs), downs[0].shape[1]
    stacked = flat[: height * width].view(height, width)
    place, views = height * width, []
    for one in ups:
        views.append(flat[place : place + one.numel()].view(one.shape))
        place += one.numel()
    parts = [*stacked.split([one.shape[0] for one in downs]), *views]
    return Copies(stacked, views, parts)


def _aligned(elements: int) -> int:
    return -(-elements // ALIGN) * ALIGN


def _on_the_way_back() -> bool:
    """Whether autograd is computing gradients in this thread: layers are then computed again as they were."""
    return bool(torch._C._current_graph_task_id() != -1)
