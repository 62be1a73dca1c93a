"""Whether a quick way gives peft's own outputs and gradients, before it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from tui_tuner.compute.kernels.probe import CLOSE, CLOSE_HALF, Draws, agree
from tui_tuner.compute.precision import HALVES, in_float32

Forward = Callable[[Any], Any]


def agrees(
    layers: Sequence[Any],
    stock: Sequence[Forward],
    quick: Callable[[Any], Sequence[Any]],
    half: Any = None,
) -> bool:
    """Whether outputs and gradients are peft's, for random inputs and matrices (a new B is all zeros).

    In float32, where rounding hides nothing, and in the numbers that the weights are held in, or those that
    autocast computes in. Draws nothing from the global random state.

    Args:
        layers: LoRA layers of peft that read the same input.
        stock: Their own forward passes.
        quick: What computes all of them.
        half: The dtype of autocast; None where it is not used.
    """
    held = layers[0].base_layer.weight.dtype
    try:
        with contextlib.ExitStack() as wide:
            for layer in layers:
                wide.enter_context(in_float32(layer))
            if not _same(layers, stock, quick, torch.float32, CLOSE):
                return False
        if half is None:
            return held == torch.float32 or _same(layers, stock, quick, held, CLOSE_HALF)
        with torch.autocast(layers[0].lora_A[_adapter(layers[0])].weight.device.type, dtype=half):
            return _same(layers, stock, quick, half, CLOSE_HALF)
    except (RuntimeError, AttributeError, TypeError):  # a peft whose layers are made otherwise
        return False


def _adapter(layer: Any) -> str:
    return str(layer.active_adapters[0])


def _same(
    layers: Sequence[Any],
    stock: Sequence[Forward],
    quick: Callable[[Any], Sequence[Any]],
    dtype: Any,
    most: float,
) -> bool:
    pairs = [(one.lora_A[_adapter(one)].weight, one.lora_B[_adapter(one)].weight) for one in layers]
    matrices = [one for pair in pairs for one in pair]
    draws = Draws(matrices[0].device)
    with _restored(matrices), _own_randomness(matrices[0].device):
        with torch.no_grad():
            for one in matrices:
                one.copy_(draws.normal(*one.shape))
        x = draws.normal(2, 3, matrices[0].shape[1], dtype=dtype).requires_grad_()
        return agree(
            _with_same_dropout(lambda: quick(x)),
            _with_same_dropout(lambda: [one(x) for one in stock]),
            [x, *matrices],
            most,
        )


def _with_same_dropout(compute: Callable[[], Sequence[Any]]) -> Callable[[], Sequence[Any]]:
    def seeded() -> Sequence[Any]:
        torch.manual_seed(0)
        return compute()

    return seeded


@contextlib.contextmanager
def _restored(matrices: Sequence[Any]) -> Iterator[None]:
    kept = [one.detach().clone() for one in matrices]
    try:
        yield
    finally:
        with torch.no_grad():
            for one, before in zip(matrices, kept, strict=True):
                one.copy_(before)


def _own_randomness(device: Any) -> Any:
    """The global random state, of the device too, as it was afterwards."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def half_of(dtype: Any, bf16: bool) -> Any:
    """The 16-bit dtype that a run computes in over weights of `dtype`.

    Args:
        bf16: Whether the device computes bfloat16.
    """
    if dtype in HALVES:
        return dtype
    return torch.bfloat16 if bf16 else torch.float16
