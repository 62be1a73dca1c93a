"""Schedule-Free AdamW (arXiv 2405.15682), and the averaged weights that are evaluated and saved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from schedulefree import AdamWScheduleFree


class ScheduleFree(AdamWScheduleFree):  # type: ignore[misc]
    """Schedule-Free AdamW that is always in training mode, but for the time of `show_average`."""

    def __init__(self, groups: Any, **settings: Any) -> None:
        super().__init__(groups, **settings)
        self.train()

    def step(self, closure: Any = None) -> None:
        """Update all weights that have a gradient; a closure is not called."""
        # A batch that was left out has no gradients, and must not count in the average either
        if any(one.grad is not None for group in self.param_groups for one in group["params"]):
            super().step()

    @contextlib.contextmanager
    def show_average(self) -> Iterator[None]:
        """Give the weights their averages while the block runs, and then the same bits as before.

        The way back of the library is rounded, so that a run with an evaluation would differ from one
        without. Therefore the weights of training are kept meanwhile, in as much memory as the gradients
        take up that do not exist then.
        """
        weights = [one for group in self.param_groups for one in group["params"]]
        if not self.param_groups[0]["train_mode"]:
            yield  # inside of another such block
            return
        kept = [one.detach().clone() for one in weights]
        self.eval()
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, value in zip(weights, kept, strict=True):
                    weight.copy_(value)
            for group in self.param_groups:
                group["train_mode"] = True
