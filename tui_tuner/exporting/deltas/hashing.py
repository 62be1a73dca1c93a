"""The hash of a model's weights: the same however many files they are in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tui_tuner.exporting.tensors import TensorForm, TensorReader

if TYPE_CHECKING:
    from torch import Tensor


def hash_tensor(name: str, form: TensorForm, tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's name, form and bytes."""
    import torch

    digest = hashlib.sha256(f"{name}\0{form.dtype}\0{list(form.shape)}\0".encode())
    if form.numbers:
        digest.update(memoryview(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def join_hashes(hashes: Mapping[str, str]) -> str:
    """Return the SHA-256 of all tensors' hashes, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(hashes):
        digest.update(bytes.fromhex(hashes[name]))
    return digest.hexdigest()


def hash_weights(
    reader: TensorReader,
    say: Callable[[int, int], None] = lambda *_: None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Return the hash of each tensor, read one at a time.

    Args:
        say: Called with the bytes read and those of all tensors.
        check: Called before each tensor; it raises to stop.
    """
    found: dict[str, str] = {}
    total, done = sum(form.bytes for form in reader.forms.values()), 0
    for name, form in reader.forms.items():
        check()
        found[name] = hash_tensor(name, form, reader.read_tensor(name))
        done += form.bytes
        say(done, total)
    return found
