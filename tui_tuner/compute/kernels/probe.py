"""Whether a replacement computes what a part of a model computes, outputs and gradients.

Both are tried on random numbers: in float32, where rounding hides nothing, in the 16-bit numbers of the run,
and under its autocast. Nothing of the model is changed: what is random takes the place of a module's own
tensors for the time of a call, so a part is tried on the device where it is whatever it holds, and where its
tensors hold no data too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from tui_tuner.compute.precision import HALVES

CLOSE = 1e-4  # relative, in float32
CLOSE_HALF = 3e-2


@dataclass(frozen=True)
class Numbers:
    """Numbers to compute in.

    Args:
        dtype: Of inputs and weights.
        autocast: What autocast computes in; None without it.
    """

    dtype: Any
    autocast: Any = None

    @property
    def close(self) -> float:
        """How far two results may lie apart, relative to their size."""
        return CLOSE if self.dtype == torch.float32 and self.autocast is None else CLOSE_HALF

    def computing(self, device: Any) -> contextlib.AbstractContextManager[Any]:
        """The numeric context, also inside one of another kind."""
        return torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None)


def numbers_of(held: Sequence[Any], autocast: Any) -> list[Numbers]:
    """All that a part of a model may be computed in.

    Args:
        held: Dtypes of the model's weights.
        autocast: What autocast computes in; None without it.
    """
    dtypes = [torch.float32, *(one for one in held if one in HALVES)]
    found = [Numbers(dtype) for dtype in dict.fromkeys(dtypes)]
    if autocast is not None:
        found += [Numbers(dtype, autocast) for dtype in dict.fromkeys((*dtypes, autocast))]
    return found


class Draws:
    """Random numbers on a device, the same each time; the global random state is left alone."""

    def __init__(self, device: Any, seed: int = 0) -> None:
        self.device = device
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, dtype: Any = torch.float32) -> Any:
        """Standard normal numbers."""
        return torch.randn(*shape, generator=self._generator).to(self.device, dtype)


def agree(
    compute: Callable[[], Sequence[Any]],
    truth: Callable[[], Sequence[Any]],
    leaves: Sequence[Any],
    close: float,
) -> bool:
    """Whether both give the same tensors and the same gradients of `leaves`, dtypes included."""
    found, wanted = with_gradients(compute, leaves), with_gradients(truth, leaves)
    with torch.autocast(found[0].device.type, enabled=False):
        return len(found) == len(wanted) and all(map(same, found, wanted, [close] * len(found)))


def with_gradients(compute: Callable[[], Sequence[Any]], leaves: Sequence[Any]) -> list[Any]:
    """The tensors that `compute` returns, and the gradients of `leaves` for random ones of theirs."""
    with torch.enable_grad():
        outputs = list(compute())
        draws = Draws(outputs[0].device, seed=1)
        above = [draws.normal(*one.shape).to(one.dtype) for one in outputs]
        gradients = torch.autograd.grad(outputs, list(leaves), above, allow_unused=True)
    return [one.detach() for one in outputs] + [
        torch.zeros_like(leaf) if one is None else one for one, leaf in zip(gradients, leaves, strict=True)
    ]


def same(one: Any, other: Any, close: float) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    apart = (one.double() - other.double()).norm()
    return bool(apart <= close * other.double().norm()) and bool(other.isfinite().all())


@contextlib.contextmanager
def probing() -> Iterator[None]:
    """Real tensors even where a trace makes them without data, and no inference mode around."""
    with unset_fake_temporarily(), torch.inference_mode(False):
        yield


def proves(attempt: Callable[[], bool]) -> bool:
    """What `attempt` finds; False where it fails: what is made otherwise than thought is left alone."""
    try:
        with probing():
            return attempt()
    except Exception:
        return False


def device_of(model: Any) -> Any:
    """Where a model's first weight lies; the processor for tensors without data."""
    for tensor in model.parameters():
        if tensor.device.type != "meta":
            return tensor.device
    return torch.device("cpu")
