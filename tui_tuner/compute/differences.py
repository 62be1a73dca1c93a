"""Differences of losses and gradients from the true ones, and the parameters whose gradients are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Difference:
    """The difference of a way from the truth; each figure is computed on first use, and only once.

    Args:
        loss: Returns the largest root mean square difference of an example's losses.
        gradient: Returns the relative difference of the gradient.
        leaks: Returns whether examples of a flat row attend to each other.
    """

    def __init__(
        self,
        loss: Callable[[], float],
        gradient: Callable[[], float],
        leaks: Callable[[], bool] = lambda: False,
    ) -> None:
        self._loss, self._gradient, self._leaks = loss, gradient, leaks

    @cached_property
    def loss_difference(self) -> float:
        return self._loss()

    @cached_property
    def gradient_difference(self) -> float:
        return self._gradient()

    @cached_property
    def has_leak(self) -> bool:
        return self._leaks()

    def describe_problem(self, loss: float, gradient: float) -> str:
        """Describe the fault of a way at this difference; empty if all figures are within bounds."""
        # From cheap to expensive: each figure may cost passes of its own, and the first fault decides.
        if self.loss_difference > loss:
            return _("the loss of an example differs by {worst:.2g} per token", worst=self.loss_difference)
        if self.has_leak:
            return _("examples of a row attend to each other")
        return describe_gradient_problem(self.gradient_difference, gradient)


def find_checked_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the trained parameters of the lowest layer that has any; the first few if no layer has."""
    from tui_tuner.methods.layers import list_layers

    try:
        layers = list_layers(model)
    except ConfigError:
        layers = []
    # A gradient that reaches the lowest layer has passed through all others, so it shows their faults too.
    for layer in layers:
        found = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        if found:
            return found
    return [parameter for parameter in model.parameters() if parameter.requires_grad][:4]


def compute_gradient(losses: Tensor, parameters: Sequence[torch.nn.Parameter]) -> list[Tensor]:
    """Compute the gradients of the summed losses; zeros for parameters they do not depend on."""
    import torch

    found = torch.autograd.grad(losses.sum(), parameters, allow_unused=True)
    return [
        torch.zeros_like(parameter) if one is None else one
        for one, parameter in zip(found, parameters, strict=True)
    ]


def measure_gradient_share(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Return the relative difference of a gradient from the true one; infinite if it is not finite."""
    pairs = [(one.float(), other.float()) for one, other in zip(found, truth, strict=True)]
    apart = sum(float((one - other).square().sum()) for one, other in pairs)
    size = sum(float(other.square().sum()) for _unused, other in pairs)
    # If the truth overflows too, its numbers say nothing against the way.
    if not math.isfinite(apart):
        return math.inf if math.isfinite(size) else 0.0
    if size > 0:
        return math.sqrt(apart / size)
    return math.inf if apart > 0 else 0.0


def compare_gradients(found: Sequence[Tensor], truth: Sequence[Tensor], most: float) -> str:
    """Describe the fault of a gradient; empty if its relative difference is at most `most`."""
    return describe_gradient_problem(measure_gradient_share(found, truth), most)


def describe_gradient_problem(share: float, most: float) -> str:
    """Describe a relative difference of the gradient; empty if it is at most `most`."""
    return _("the gradient differs by {share:.2%}", share=share) if share > most else ""


def add_gradients(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    """Add two gradients; an empty first one counts as zero."""
    return [a + b for a, b in zip(one, other, strict=True)] if one else other


def measure_loss_difference(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Return the largest root mean square difference of an example's losses; infinite without a number."""
    worst = 0.0
    for one, other in zip(found, truth, strict=True):
        if len(other):
            apart = float((one - other).square().mean().sqrt())
            worst = max(worst, apart if math.isfinite(apart) else math.inf)
    return worst
