"""Numbers on their way to a GPU: few copies, and none that waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ALIGNED = 256  # bytes, as the allocator of a GPU aligns


def on_gpu(device: Any) -> bool:
    """Whether torch calls a device (`torch.device` or a string) one of CUDA."""
    return str(getattr(device, "type", device)).startswith("cuda")


def send(tensor: Any, device: Any) -> Any:
    """A tensor of the host on a device; from pinned memory, as any other copy to a GPU waits for it."""
    return (_pinned(tensor) if on_gpu(device) else tensor).to(device, non_blocking=True)


def send_numbers(numbers: Sequence[int], device: Any, dtype: Any = None) -> Any:
    """Whole numbers as a tensor on a device, int64 where no dtype is given."""
    import torch

    return send(torch.tensor(numbers, dtype=dtype or torch.int64), device)


def send_together(tensors: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """Tensors of the host on a device, by one copy of them all; what is None stays None.

    They are views of one piece of memory there, each aligned.
    """

    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    bounds, end = {}, 0
    for name, tensor in present.items():
        size = tensor.numel() * tensor.itemsize
        bounds[name] = (end, end + size)
        end += -(-size // ALIGNED) * ALIGNED
    whole = _room(end, on_gpu(device))

    def part(of: Any, name: str) -> Any:
        first, last = bounds[name]
        return of[first:last].view(present[name].dtype).view(present[name].shape)

    for name, tensor in present.items():
        part(whole, name).copy_(tensor)
    there = whole.to(device, non_blocking=True)
    return {name: None if tensor is None else part(there, name) for name, tensor in tensors.items()}


def _room(size: int, pinned: bool) -> Any:
    """So many bytes of the host's memory, pinned if the system has that."""
    import torch

    try:
        return torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
    except RuntimeError:
        return torch.empty(size, dtype=torch.uint8)


def _pinned(tensor: Any) -> Any:
    """The same in pinned memory; as it is where the system has none to give, which costs a wait."""
    try:
        return tensor.pin_memory()
    except RuntimeError:
        return tensor
