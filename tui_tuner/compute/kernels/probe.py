"""Tests of whether a replacement gives the same outputs and gradients as a part of a model.

Both run on random numbers: in float32, where rounding hides nothing, in the 16-bit dtype of the run, and
under its autocast. The model is not changed: random tensors replace a module's own during a call, so a part
can be tested on its device whatever it holds, also if its tensors hold no data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from tui_tuner.compute.precision import HALVES

if TYPE_CHECKING:
    from torch import Tensor

CLOSE = 1e-4  # relative, in float32
CLOSE_HALF = 3e-2


@dataclass(frozen=True)
class Numbers:
    """A numeric format to test in.

    Args:
        dtype: The dtype of inputs and weights.
        autocast: The dtype of autocast; None without it.
    """

    dtype: torch.dtype
    autocast: torch.dtype | None = None

    @property
    def allowed_difference(self) -> float:
        """The allowed relative difference of two results."""
        return CLOSE if self.dtype == torch.float32 and self.autocast is None else CLOSE_HALF

    def enter_numbers(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """Return the autocast context of this format."""
        # Explicitly disabled without autocast: the caller may be inside of another context.
        return torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None)


def list_probed_formats(held: Sequence[torch.dtype], autocast: torch.dtype | None) -> list[Numbers]:
    """List the numeric formats that a part of a model may be computed in, float32 first.

    Args:
        held: Dtypes of the model's weights.
        autocast: The dtype of autocast; None without it.
    """
    dtypes = [torch.float32, *(one for one in held if one in HALVES)]
    found = [Numbers(dtype) for dtype in dict.fromkeys(dtypes)]
    if autocast is not None:
        found += [Numbers(dtype, autocast) for dtype in dict.fromkeys((*dtypes, autocast))]
    return found


class RandomDraws:
    """Reproducible random numbers on a device, independent of the global random state."""

    def __init__(self, device: torch.device, seed: int = 0) -> None:
        self.device = device
        # On the CPU, so every device gets the same numbers.
        self._generator = torch.Generator().manual_seed(seed)

    def draw_normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw standard normal numbers."""
        return torch.randn(*shape, generator=self._generator).to(self.device, dtype)


def has_same_results(
    compute: Callable[[], Sequence[Tensor]],
    truth: Callable[[], Sequence[Tensor]],
    leaves: Sequence[Tensor],
    close: float,
) -> bool:
    """Return whether both give the same tensors and gradients of `leaves`, including their dtypes."""
    found, wanted = compute_with_gradients(compute, leaves), compute_with_gradients(truth, leaves)
    with torch.autocast(found[0].device.type, enabled=False):
        return len(found) == len(wanted) and all(map(are_results_close, found, wanted, [close] * len(found)))


def compute_with_gradients(compute: Callable[[], Sequence[Tensor]], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs of `compute`, and the gradients of `leaves` for random gradients of the outputs."""
    with torch.enable_grad():
        outputs = list(compute())
        draws = RandomDraws(outputs[0].device, seed=1)
        above = [draws.draw_normal(*one.shape).to(one.dtype) for one in outputs]
        gradients = torch.autograd.grad(outputs, list(leaves), above, allow_unused=True)
    return [one.detach() for one in outputs] + [
        torch.zeros_like(leaf) if one is None else one for one, leaf in zip(gradients, leaves, strict=True)
    ]


def are_results_close(one: Tensor, other: Tensor, close: float) -> bool:
    # Written so that a NaN in either tensor makes the result False.
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    apart = (one.double() - other.double()).norm()
    return bool(apart <= close * other.double().norm()) and bool(other.isfinite().all())


@contextlib.contextmanager
def use_real_tensors() -> Iterator[None]:
    """Create real tensors within the context, even inside of a fake-tensor trace or inference mode."""
    with unset_fake_temporarily(), torch.inference_mode(False):
        yield


def try_kernel_proof(attempt: Callable[[], bool]) -> bool:
    """Return the result of `attempt`, or False if it raises: an unexpected structure is left alone."""
    try:
        with use_real_tensors():
            return attempt()
    except Exception:
        return False


def find_model_device(model: torch.nn.Module) -> torch.device:
    """Return the device of a model's first weight; the CPU if no weight holds data."""
    for tensor in model.parameters():
        if tensor.device.type != "meta":
            return tensor.device
    return torch.device("cpu")
