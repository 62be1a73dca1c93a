"""How many kernels an operation of our own launches, which tensors without data cannot tell.

An operator of PyTorch counts as one launch. One that is made here (`torch.library.custom_op`, with a fake
implementation) hides what it launches, so it says it.
"""

from __future__ import annotations

# Launches of an operation by its full name, such as `tui_tuner::rotate`; one where nothing is declared
LAUNCHES: dict[str, int] = {}


def declare_launches(name: str, launches: int) -> None:
    """Say how many kernels the operation `namespace::name` launches on a GPU, each time it is called."""
    LAUNCHES[name] = launches


def launches_of(name: str) -> int:
    """Kernels that one call of the operation launches, as declared."""
    return LAUNCHES.get(name, 1)
