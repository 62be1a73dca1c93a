"""Speeds of a machine at the four kinds of work in a training step."""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.locales import _

# Shares of a data sheet that are reached. Products of matrices: 80 % at the best shapes of an H100, 86 % of
# an A100 (S. Bekman, Machine Learning Engineering, "Maximum Achievable Matmul FLOPS"), but a layer's shapes
# are not the best, and one of 4,096 x 4,096 x 4,096 was seen to reach 64 % there. Copies: 91 % on that card.
PRODUCTS, MEMORY = 0.65, 0.90
# Seconds until a processor has launched an operation of a training step: 4 microseconds for a bare operation
# from Python, measured on the host of an H100, and more than that again for autograd and modules
LAUNCH = 1e-5
# Bytes a second to and from pinned host memory, one way: 16 lanes of PCI Express at 80 % of what they carry
LINKS = {(9, 0): 50e9, (10, 0): 50e9, (12, 0): 50e9, (8, 0): 25e9, (8, 6): 25e9, (8, 9): 25e9}
OLD_LINK = 12.5e9
UNKNOWN = (150.0, 900.0)  # TFLOP/s and GB/s of an unknown card, for choices only, not for times


@dataclass(frozen=True)
class Rates:
    """Speeds that a machine reaches.

    Args:
        launch: Seconds of the processor for each operation that it launches on the GPU.
        products: Floating-point operations a second in products of 16-bit matrices.
        memory: Bytes a second to and from the GPU's memory.
        link: Bytes a second between the GPU and pinned memory of the host, one way.
        measured: Whether all this was measured on the machine.
    """

    launch: float
    products: float
    memory: float
    link: float
    measured: bool = False

    def is_near(self, other: Rates) -> bool:
        """Return whether two measurements agree: within a fifth in everything."""
        mine, yours = ((one.launch, one.products, one.memory, one.link) for one in (self, other))
        return all(5 / 6 <= a / b <= 6 / 5 for a, b in zip(mine, yours, strict=True))


def describe_rates(found: Rates) -> str:
    """Describe the measured rates in a sentence."""
    return _(
        "This GPU: {launch:.1f} microseconds of processor time per launch, {products:,.0f} TFLOP/s in "
        "matrix products, {memory:,.0f} GB/s to memory, {link:.0f} GB/s to the host.",
        launch=found.launch * 1e6,
        products=found.products / 1e12,
        memory=found.memory / 1e9,
        link=found.link / 1e9,
    )


def estimate_rates(tflops: float, bandwidth: float, capability: tuple[int, int]) -> Rates:
    """Estimate rates from a data sheet and common experience; 0 TFLOP/s is a card without a data sheet."""
    if not tflops:
        # Choices only compare settings with each other, so rough figures are enough; no duration is shown
        # from them
        tflops, bandwidth = UNKNOWN
    return Rates(
        launch=LAUNCH,
        products=tflops * 1e12 * PRODUCTS,
        memory=bandwidth * 1e9 * MEMORY,
        link=LINKS.get(capability, OLD_LINK),
    )


def format_step_time(seconds: float) -> str:
    """Format the seconds of a step with as few digits as comparisons need."""
    return _("{seconds:.2f} s", seconds=seconds) if seconds >= 0.1 else _("{ms:.1f} ms", ms=seconds * 1000)
