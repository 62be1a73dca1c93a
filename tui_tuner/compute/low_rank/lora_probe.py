"""The test that a fast step gives peft's own outputs and gradients, before it is used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.kernels.probe import CLOSE, CLOSE_HALF, RandomDraws, has_same_results
from tui_tuner.compute.precision import HALVES, compute_in_float32

if TYPE_CHECKING:
    from torch import Tensor

Forward = Callable[[Any], Any]


def agrees_with_peft(
    layers: Sequence[torch.nn.Module],
    stock: Sequence[Forward],
    quick: Callable[[Tensor], Sequence[Tensor]],
    half: torch.dtype | None = None,
) -> bool:
    """Return whether outputs and gradients are peft's, for random inputs and matrices.

    Tested in float32, where rounding hides nothing, and in the dtype of the weights, or of autocast. Draws
    nothing from the global random state.

    Args:
        layers: LoRA layers of peft with the same input.
        stock: Their own forward passes.
        quick: Computes all of them.
        half: The dtype of autocast; None without it.
    """
    held = layers[0].base_layer.weight.dtype
    try:
        with contextlib.ExitStack() as wide:
            for layer in layers:
                wide.enter_context(compute_in_float32(layer))
            if not _has_same_outputs(layers, stock, quick, torch.float32, CLOSE):
                return False
        if half is None:
            return held == torch.float32 or _has_same_outputs(layers, stock, quick, held, CLOSE_HALF)
        with torch.autocast(layers[0].lora_A[_find_adapter(layers[0])].weight.device.type, dtype=half):
            return _has_same_outputs(layers, stock, quick, half, CLOSE_HALF)
    except (RuntimeError, AttributeError, TypeError):  # another version of peft, with other layers
        return False


def _find_adapter(layer: torch.nn.Module) -> str:
    return str(layer.active_adapters[0])


def _has_same_outputs(
    layers: Sequence[torch.nn.Module],
    stock: Sequence[Forward],
    quick: Callable[[Tensor], Sequence[Tensor]],
    dtype: torch.dtype,
    most: float,
) -> bool:
    pairs = [(one.lora_A[_find_adapter(one)].weight, one.lora_B[_find_adapter(one)].weight) for one in layers]
    matrices = [one for pair in pairs for one in pair]
    draws = RandomDraws(matrices[0].device)
    with _restore_matrices(matrices), _fork_randomness(matrices[0].device):
        # A new B is all zeros, which would hide most faults.
        with torch.no_grad():
            for one in matrices:
                one.copy_(draws.draw_normal(*one.shape))
        x = draws.draw_normal(2, 3, matrices[0].shape[1], dtype=dtype).requires_grad_()
        return has_same_results(
            _seed_dropout(lambda: quick(x)),
            _seed_dropout(lambda: [one(x) for one in stock]),
            [x, *matrices],
            most,
        )


def _seed_dropout(compute: Callable[[], Sequence[Tensor]]) -> Callable[[], Sequence[Tensor]]:
    # Both sides must drop the same elements.
    def seeded() -> Sequence[Tensor]:
        torch.manual_seed(0)
        return compute()

    return seeded


@contextlib.contextmanager
def _restore_matrices(matrices: Sequence[Tensor]) -> Iterator[None]:
    kept = [one.detach().clone() for one in matrices]
    try:
        yield
    finally:
        with torch.no_grad():
            for one, before in zip(matrices, kept, strict=True):
                one.copy_(before)


def _fork_randomness(device: torch.device) -> Any:
    """Return a context that restores the global random state afterwards, including the device's."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def choose_half_dtype(dtype: torch.dtype, bf16: bool) -> torch.dtype:
    """Return the 16-bit dtype that a run computes in with weights of `dtype`.

    Args:
        bf16: Whether the device computes bfloat16.
    """
    if dtype in HALVES:
        return dtype
    return torch.bfloat16 if bf16 else torch.float16
