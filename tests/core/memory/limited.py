"""A device with little memory, on a processor: tensors are counted while they live, and more are refused."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


def _storages(values: Any) -> list[Any]:
    return [leaf.untyped_storage() for leaf in tree_flatten(values)[0] if isinstance(leaf, torch.Tensor)]


class Memory(TorchDispatchMode):
    """Counts the bytes that PyTorch allocates while this is entered, and raises as a GPU does beyond a limit.

    A tensor that an exception's frames, a cycle or anything else still holds counts, as it would on a device.

    Attributes:
        limit: Bytes that may live at once; None for no limit.
        live: Bytes of tensors that were made since it was entered and are still held.
        peak: The most of them so far.
        refused: How often there was no room.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.live = self.peak = self.refused = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(out):
            if storage._cdata not in given:  # a view, or a change in place
                self._count(storage)
        return out

    def _count(self, storage: Any) -> None:
        name = storage._cdata
        if name in self._known:
            return
        size = storage.nbytes()
        if self.limit is not None and self.live + size > self.limit:
            self.refused += 1
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {size} bytes; {self.limit - self.live} are free."
            )

        def forget(_unused: Any) -> None:
            self.live -= size
            self._known.pop(name, None)

        self._known[name] = weakref.ref(storage, forget)
        self.live += size
        self.peak = max(self.peak, self.live)

    @contextmanager
    def limited(self, size: int | None) -> Iterator[None]:
        """Allow only so many bytes more than live now."""
        before, self.limit = self.limit, None if size is None else self.live + size
        try:
            yield
        finally:
            self.limit = before
