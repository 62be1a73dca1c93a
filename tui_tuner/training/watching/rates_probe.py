"""How fast this GPU is, found out in the first tenths of a second of a run; see `planning.speed.rates`.

Whatever goes wrong costs the measurement and nothing else: choices then rest on the data sheet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from tui_tuner.planning.speed.rates import Rates

BLOCKS, PER_BLOCK = 12, 42  # of the chain whose launches are timed; launches of one, forward and back
# A launch of a whole model against one of this chain: compared on a processor (Llama with LoRA, a handful of
# tokens, so that nearly nothing is computed), where it took 11 microseconds and that of the chain 5
WHOLE = 2.2
TIMES = 3  # each is tried so often, after once for nothing; the quickest counts
SIDE = 4096  # rows and columns of the matrices that are multiplied
COPIED = 256 * 2**20  # bytes copied on the GPU
SENT = 64 * 2**20  # bytes sent from the host
WIDTH, RANK = 64, 8  # of what the launches work on: as good as nothing


def measure_rates(device: Any) -> Rates | None:
    """Time launches, a product of matrices, a copy, and a copy from the host; None where that fails.

    Args:
        device: A GPU. On a processor the same is done with small sizes, so that it can be tried anywhere.
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
    """A layer of a model in small: a norm written out, a frozen product with its adapter, and a residual."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(WIDTH, device=device, dtype=dtype), requires_grad=False)
        self.base = _Product(device, dtype, (WIDTH, WIDTH)).requires_grad_(False)
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
    """`torch.nn.Linear` whose weights draw no random numbers."""

    def __init__(self, device: torch.device, dtype: torch.dtype, shape: tuple[int, int]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full(shape, 0.01, device=device, dtype=dtype))

    def forward(self, x: Any) -> Any:
        return torch.nn.functional.linear(x, self.weight)


def _time_launches(device: torch.device) -> float:
    """Seconds of the processor for each launch of a model, forward and back."""
    run = launching(device)
    return _quickest(run, device, waits=False) / (BLOCKS * PER_BLOCK) * WHOLE


def launching(device: torch.device) -> Callable[[], Any]:
    """What launches much and computes little."""
    dtype = _half(device)
    chain = torch.nn.Sequential(*(_Block(device, dtype) for _unused in range(BLOCKS)))
    x = torch.zeros(1, WIDTH, device=device, dtype=dtype, requires_grad=True)
    trained = [weight for weight in chain.parameters() if weight.requires_grad]

    def run() -> None:
        with torch.autocast(device.type, dtype=dtype):
            result = chain(x)
        torch.autograd.grad(result, trained, torch.zeros_like(result))

    return run


def _time_product(device: torch.device, side: int) -> float:
    """Of two matrices full of numbers: zeros would need less power, and be quicker."""
    made = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, device=device, generator=made).to(_half(device)) for _unused in range(2))
    out = torch.empty_like(a)
    return _quickest(lambda: torch.mm(a, b, out=out), device)


def _time_copy(device: torch.device, size: int) -> float:
    source = torch.ones(size, dtype=torch.uint8, device=device)
    to = torch.empty_like(source)
    return _quickest(lambda: to.copy_(source), device)


def _time_sending(device: torch.device, size: int) -> float:
    host = torch.ones(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    to = torch.empty(size, dtype=torch.uint8, device=device)
    return _quickest(lambda: to.copy_(host, non_blocking=True), device)


def _quickest(work: Callable[[], Any], device: torch.device, waits: bool = True) -> float:
    """Seconds of the quickest of a few tries: until the GPU is done, or until all is launched."""
    found = []
    for _unused in range(TIMES + 1):
        _wait(device)
        began = time.perf_counter()
        work()
        if waits:
            _wait(device)
        found.append(time.perf_counter() - began)
    _wait(device)
    return max(min(found[1:]), 1e-9)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _half(device: torch.device) -> torch.dtype:
    """The 16-bit numbers that the device computes with."""
    old = device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0)
    return torch.float16 if old else torch.bfloat16


def _leave_no_trace(device: torch.device) -> None:
    """Give the memory back, and let the run's own peaks begin at nothing."""
    try:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    except Exception:
        return
