"""Transfers to a GPU: few copies, all of them asynchronous."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ALIGNED = 256  # bytes, the alignment of the GPU allocator


def is_on_gpu(device: torch.device | str) -> bool:
    """Return whether a device (`torch.device` or a string) is a CUDA device."""
    return str(getattr(device, "type", device)).startswith("cuda")


def send_tensor(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Send a host tensor to a device, without waiting for the copy."""
    # Only copies from pinned memory are asynchronous.
    return (_pin_tensor(tensor) if is_on_gpu(device) else tensor).to(device, non_blocking=True)


def send_numbers(
    numbers: Sequence[int], device: torch.device | str, dtype: torch.dtype | None = None
) -> Tensor:
    """Send integers to a device as a tensor, int64 if no dtype is given."""
    import torch

    return send_tensor(torch.tensor(numbers, dtype=dtype or torch.int64), device)


def send_tensors_together(tensors: Mapping[str, Tensor | None], device: torch.device | str) -> dict[str, Any]:
    """Send host tensors to a device in one copy; None stays None.

    The results are aligned views of one tensor.
    """

    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    bounds, end = {}, 0
    for name, tensor in present.items():
        size = tensor.numel() * tensor.itemsize
        bounds[name] = (end, end + size)
        end += -(-size // ALIGNED) * ALIGNED
    whole = _allocate_room(end, is_on_gpu(device))

    def part(of: Tensor, name: str) -> Tensor:
        first, last = bounds[name]
        return of[first:last].view(present[name].dtype).view(present[name].shape)

    for name, tensor in present.items():
        part(whole, name).copy_(tensor)
    there = whole.to(device, non_blocking=True)
    return {name: None if tensor is None else part(there, name) for name, tensor in tensors.items()}


def _allocate_room(size: int, pinned: bool) -> Tensor:
    """Allocate bytes of host memory, pinned if the system allows that."""
    import torch

    try:
        return torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
    except RuntimeError:
        return torch.empty(size, dtype=torch.uint8)


def _pin_tensor(tensor: Tensor) -> Tensor:
    """Pin a tensor; return it unchanged if the system has no pinned memory, so its copy will wait."""
    try:
        return tensor.pin_memory()
    except RuntimeError:
        return tensor
