"""The memory of bottleneck adapters, which sit behind the blocks of a layer."""

from __future__ import annotations

from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.sublayers.bottleneck import Bottleneck
from tui_tuner.planning.memory.sublayers.fused import Fused
from tui_tuner.planning.memory.sublayers.sublayer import Sublayer


def make_sublayers(setup: Setup, trained: bool) -> dict[str, Sublayer]:
    """Make the adapters of one layer, by the branch that they belong to: `attention`, `feed` or both."""
    told = setup.sublayers
    if told is None or not trained:
        return {}
    made = Fused if told.fused else Bottleneck
    branches = ("attention", "feed") if told.style == "houlsby" else ("feed",)
    return {branch: made(setup, told) for branch in branches}
