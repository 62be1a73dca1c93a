"""Several optimizers for different weights of one model, as one optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer


class JoinedOptimizer(Optimizer):
    """Takes the steps of several optimizers, and has the groups and states of all, in their order.

    So schedules, loss scalers, clipping and checkpoints need not know that there are several.

    Args:
        parts: Optimizers of different weights, each without state.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = tuple(parts)
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share_groups()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Let each part take its step; a closure is not called."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        keep_dtypes(self, state_dict)
        # Loading has replaced the groups and the states that the parts held
        self._share_groups()

    def _share_groups(self) -> None:
        """Give the parts these very groups and states, so that a change of one is a change of the other."""
        start = 0
        for part in self.parts:
            end = start + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start:end], self.state
            start = end


def keep_dtypes(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """Give the loaded states the dtypes in which they were saved.

    torch casts them to the dtype of their weights, and what is kept in float32 for 16-bit weights would lose
    digits by that.
    """
    for saved, own in zip(state_dict["param_groups"], optimizer.param_groups, strict=True):
        for number, parameter in zip(saved["params"], own["params"], strict=True):
            held = optimizer.state[parameter] if number in state_dict["state"] else {}
            for name, value in held.items():
                before = state_dict["state"][number].get(name)
                if isinstance(value, torch.Tensor) and value.dtype != before.dtype and name != "step":
                    held[name] = before.to(value.device, copy=True)
