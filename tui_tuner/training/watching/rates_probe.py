"""Measure this GPU's speed in the first tenths of a second of a run; see `planning.speed.speed_rates`.

An error costs only the measurement: choices are then based on the data sheet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from tui_tuner.planning.speed.speed_rates import Rates

BLOCKS, PER_BLOCK = 12, 42  # blocks in the chain whose launches are timed; launches of a block, both passes
# Time of a launch in a whole model relative to one in this chain. Measured on a CPU (Llama with LoRA, a few
# tokens, so that hardly anything is computed): 11 microseconds in the model, 5 in the chain.
WHOLE = 2.2
TIMES = 3  # tries of each measurement, after one to warm up; the quickest counts
SIDE = 4096  # rows and columns of the matrices that are multiplied
COPIED = 256 * 2**20  # bytes copied on the GPU
SENT = 64 * 2**20  # bytes sent from the host
WIDTH, RANK = 64, 8  # so small that launches work on next to nothing


def measure_rates(device: Any) -> Rates | None:
    """Time launches, a matrix product, a copy, and a copy from the host; return None if that fails.

    Args:
        device: A GPU. On a CPU the same is done with small sizes, so that it can be tried anywhere.
    """
    device = torch.device(device)
    here = device.type == "cuda"
    try:
        launch = _time_launches(device)
        side, copied, sent = (SIDE, COPIED, SENT) if here else (256, 2**20, 2**20)
        products = 2.0 * side**3 / _time_product(device, side)
        memory = 2.0 * copied / _time_copy(device, copied)
        link = sent / _time_sending(device, sent)
    except Exception:
        return None
    finally:
        if here:
            _leave_no_trace(device)
    return Rates(launch, products, memory, link, measured=True)


class _Block(torch.nn.Module):
    """A small model of a layer: a norm written out, a frozen product with its adapter, and a residual."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(WIDTH, device=device, dtype=dtype), requires_grad=False)
        self.base = _Product(device, dtype, (WIDTH, WIDTH)).requires_grad_(False)
        # Dictionaries of modules, as in peft: looking them up is part of what a launch costs there.
        self.dropout = torch.nn.ModuleDict({"default": torch.nn.Identity()})
        self.down = torch.nn.ModuleDict({"default": _Product(device, torch.float32, (RANK, WIDTH))})
        self.up = torch.nn.ModuleDict({"default": _Product(device, torch.float32, (WIDTH, RANK))})

    def forward(self, x: Any) -> Any:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        normed = self.scale * wide.to(x.dtype)
        result = self.base(normed)
        for name in self.down:
            cast = self.dropout[name](normed.to(self.down[name].weight.dtype))
            result = result + self.up[name](self.down[name](cast)) * 0.5
        return x + result


class _Product(torch.nn.Module):
    """A `torch.nn.Linear` whose weights are not random."""

    def __init__(self, device: torch.device, dtype: torch.dtype, shape: tuple[int, int]) -> None:
        super().__init__()
        # Drawing numbers here would change those of the run that is about to start.
        self.weight = torch.nn.Parameter(torch.full(shape, 0.01, device=device, dtype=dtype))

    def forward(self, x: Any) -> Any:
        return torch.nn.functional.linear(x, self.weight)


def _time_launches(device: torch.device) -> float:
    """Return the seconds that the host needs for each launch of a model, in both passes."""
    run = make_kernel_launcher(device)
    return _find_quickest(run, device, waits=False) / (BLOCKS * PER_BLOCK) * WHOLE


def make_kernel_launcher(device: torch.device) -> Callable[[], Any]:
    """Return a function that launches many kernels and computes little."""
    dtype = _choose_half(device)
    chain = torch.nn.Sequential(*(_Block(device, dtype) for _unused in range(BLOCKS)))
    x = torch.zeros(1, WIDTH, device=device, dtype=dtype, requires_grad=True)
    trained = [weight for weight in chain.parameters() if weight.requires_grad]

    def run() -> None:
        with torch.autocast(device.type, dtype=dtype):
            result = chain(x)
        # `backward` would add up gradients: more kernels with each try.
        torch.autograd.grad(result, trained, torch.zeros_like(result))

    return run


def _time_product(device: torch.device, side: int) -> float:
    """Return the seconds of a product of two square matrices."""
    # Random numbers, because a GPU multiplies zeros with less power and so faster; from a separate generator,
    # because the run's own random state must not change.
    made = torch.Generator(device).manual_seed(0)
    a, b = (
        torch.randn(side, side, device=device, generator=made).to(_choose_half(device))
        for _unused in range(2)
    )
    out = torch.empty_like(a)
    return _find_quickest(lambda: torch.mm(a, b, out=out), device)


def _time_copy(device: torch.device, size: int) -> float:
    source = torch.ones(size, dtype=torch.uint8, device=device)
    to = torch.empty_like(source)
    return _find_quickest(lambda: to.copy_(source), device)


def _time_sending(device: torch.device, size: int) -> float:
    # Only copies from pinned memory run at the full speed of the link.
    host = torch.ones(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    to = torch.empty(size, dtype=torch.uint8, device=device)
    return _find_quickest(lambda: to.copy_(host, non_blocking=True), device)


def _find_quickest(work: Callable[[], Any], device: torch.device, waits: bool = True) -> float:
    """Return the seconds of the quickest of a few tries, until the GPU is done or until all is launched."""
    found = []
    for _unused in range(TIMES + 1):
        _wait_for_device(device)
        began = time.perf_counter()
        work()
        if waits:
            _wait_for_device(device)
        found.append(time.perf_counter() - began)
    _wait_for_device(device)
    return max(min(found[1:]), 1e-9)


def _wait_for_device(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _choose_half(device: torch.device) -> torch.dtype:
    """Return the 16-bit dtype that the device computes with."""
    # GPUs before Ampere have no bfloat16 units.
    old = device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0)
    return torch.float16 if old else torch.bfloat16


def _leave_no_trace(device: torch.device) -> None:
    """Release the memory, and reset the peaks for the run's own measurement."""
    try:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    except Exception:
        return
