"""Kernel launches of our own operations, which a trace with fake tensors cannot see.

An operator of PyTorch counts as one launch. An operation of ours (a library operation with a fake
implementation) hides its launches, so it declares their number.
"""

from __future__ import annotations

# Launches by the full name of an operation, such as `tui_tuner::rotate`.
LAUNCHES: dict[str, int] = {}


def declare_launches(name: str, launches: int) -> None:
    """Declare how many kernels a call of the operation `namespace::name` launches on a GPU."""
    LAUNCHES[name] = launches


def count_launches(name: str) -> int:
    """Return the declared launches of one call; 1 if nothing was declared."""
    return LAUNCHES.get(name, 1)
