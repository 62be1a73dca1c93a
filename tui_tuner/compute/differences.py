"""How far losses and gradients are from the true ones, and which gradient is looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from tui_tuner.errors import ConfigError
from tui_tuner.locales import _


class Apart:
    """How far a way is from the truth; each figure is computed when it is first asked for, and only once.

    Args:
        loss: Gives the largest root mean square difference of an example's losses.
        gradient: Gives the relative difference of the gradient.
        leaks: Gives whether examples of a flat row see each other.
    """

    def __init__(
        self,
        loss: Callable[[], float],
        gradient: Callable[[], float],
        leaks: Callable[[], bool] = lambda: False,
    ) -> None:
        self._loss, self._gradient, self._leaks = loss, gradient, leaks

    @cached_property
    def loss(self) -> float:
        return self._loss()

    @cached_property
    def gradient(self) -> float:
        return self._gradient()

    @cached_property
    def leaks(self) -> bool:
        return self._leaks()

    def problem(self, loss: float, gradient: float) -> str:
        """What is wrong with a way that may be so far from the truth; empty if all is well."""
        if self.loss > loss:
            return _("the loss of an example differs by {worst:.2g} a token", worst=self.loss)
        if self.leaks:
            return _("examples of a row see each other")
        return gradient_problem(self.gradient, gradient)


def checked_parameters(model: Any) -> list[Any]:
    """The trained parameters of the lowest layer that has any, or the first few where none has.

    A gradient that reaches the lowest layer has come through all the others.
    """
    from tui_tuner.methods.weights import decoder_layers

    try:
        layers = decoder_layers(model)
    except ConfigError:
        layers = []
    for layer in layers:
        found = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        if found:
            return found
    return [parameter for parameter in model.parameters() if parameter.requires_grad][:4]


def gradient_of(losses: Any, parameters: Sequence[Any]) -> list[Any]:
    """Gradients of the summed losses; zeros for what they do not depend on."""
    import torch

    found = torch.autograd.grad(losses.sum(), parameters, allow_unused=True)
    return [
        torch.zeros_like(parameter) if one is None else one
        for one, parameter in zip(found, parameters, strict=True)
    ]


def gradient_share(found: Sequence[Any], truth: Sequence[Any]) -> float:
    """How far a gradient is from the true one, as a share of its size; infinite where it is not a number."""
    pairs = [(one.float(), other.float()) for one, other in zip(found, truth, strict=True)]
    apart = sum(float((one - other).square().sum()) for one, other in pairs)
    size = sum(float(other.square().sum()) for _unused, other in pairs)
    if not math.isfinite(apart):
        return math.inf if math.isfinite(size) else 0.0
    if size > 0:
        return math.sqrt(apart / size)
    return math.inf if apart > 0 else 0.0


def compare_gradients(found: Sequence[Any], truth: Sequence[Any], most: float) -> str:
    """What is wrong with a gradient; empty if it is the true one to a share of its size."""
    return gradient_problem(gradient_share(found, truth), most)


def gradient_problem(share: float, most: float) -> str:
    """What is wrong with a gradient that differs by a share of its size; empty if that is little."""
    return _("the gradient differs by {share:.2%}", share=share) if share > most else ""


def added(one: list[Any], other: list[Any]) -> list[Any]:
    """Two gradients together; the second where there is no first."""
    return [a + b for a, b in zip(one, other, strict=True)] if one else other


def difference(found: Sequence[Any], truth: Sequence[Any]) -> float:
    """The largest root mean square difference of an example's losses; infinite where one is not a number."""
    worst = 0.0
    for one, other in zip(found, truth, strict=True):
        if len(other):
            apart = float((one - other).square().mean().sqrt())
            worst = max(worst, apart if math.isfinite(apart) else math.inf)
    return worst
