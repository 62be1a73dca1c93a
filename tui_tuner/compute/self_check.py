"""Fast ways to compute are tried against plain forward passes, gradients included, before they are used.

What is compared are the losses of an objective, one for each thing learnt, example by example: their root
mean square difference must stay below 1e-4 in float32, and below 0.1 in 16 bits, where two exact orders of
summation differ by as much. Gradients of the trained parameters of one layer are compared over the shorter
examples.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, lay_flat, lay_padded, switch_attention
from tui_tuner.errors import ConfigError
from tui_tuner.locales import _

# Losses of a micro-batch by a way, [n] float32 in the order of its examples: one for each thing learnt
LossesOf = Callable[[Any, MicroBatch, ForwardWay], Any]

GRADIENT, GRADIENT_HALF = 1e-3, 0.2  # relative difference of a gradient: float32, 16 bits
GRADIENT_ROWS = 3  # the shortest ones: a backward pass keeps activations that training may compute again
LEAKED, LEAKED_HALF = 5e-6, 2e-2


@dataclass(frozen=True)
class Checked:
    """The way that proved right, and why a faster one did not; `problem` is empty if all is well.

    Where `exact` is False, none did: then only batches of a single example are right.
    """

    way: ForwardWay
    problem: str = ""
    exact: bool = True


@dataclass
class Truth:
    """Losses of each example alone, and the gradient that the graded ones give."""

    losses: list[Any]
    gradient: list[Any] = field(default_factory=list)


class Checker:
    """Compares ways to compute on a few examples of a run.

    Args:
        rows: Their numbers, shortest first.
        losses: The objective's losses.
        plain: The same, computed for a single example in the most plain way.
        graded: How many of the rows have their gradients compared.
    """

    def __init__(
        self,
        model: Any,
        data: Rows,
        rows: Sequence[int],
        device: Any,
        pad: int,
        losses: LossesOf,
        plain: LossesOf,
        graded: int = GRADIENT_ROWS,
    ) -> None:
        self.model, self.data, self.rows = model, data, list(rows)
        self.device, self.pad = device, pad
        self.losses, self.plain = losses, plain
        self.graded = graded

    def lay(self, rows: Sequence[int], way: ForwardWay) -> MicroBatch:
        micro = lay_flat(self.data, rows) if way.packing else lay_padded(self.data, rows, self.pad)
        return micro.to(self.device)

    def truth(self, way: ForwardWay) -> Truth:
        """Each example alone: no packing, no padding, no choice of positions."""
        import torch

        parameters = checked_parameters(self.model)
        found = Truth([])
        for place, row in enumerate(self.rows):
            graded = place < self.graded and bool(parameters)
            with torch.set_grad_enabled(graded):
                micro = lay_padded(self.data, [row], self.pad).to(self.device)
                losses = self.plain(self.model, micro, way)
                if graded and losses.requires_grad:
                    found.gradient = _added(found.gradient, gradient_of(losses, parameters))
            found.losses.append(losses.detach())
        return found

    def compare(self, way: ForwardWay, truth: Truth) -> str:
        """What is wrong with a way; empty if it gives the true losses and gradients."""
        import torch

        micro = self.lay(self.rows, way)
        with torch.no_grad():
            losses = self.losses(self.model, micro, way)
            found = list(losses.split([len(one) for one in truth.losses]))
        worst = difference(found, truth.losses)
        if worst > tolerance(self.model, way):
            return _("the loss of an example differs by {worst:.2g} a token", worst=worst)
        if way.packing and self._leaks(way, micro, found):
            return _("examples of a row see each other")
        return self._compare_gradient(way, truth)

    def _compare_gradient(self, way: ForwardWay, truth: Truth) -> str:
        import torch

        if not truth.gradient:
            return ""
        with torch.enable_grad():
            losses = self.losses(self.model, self.lay(self.rows[: self.graded], way), way)
            found = gradient_of(losses, checked_parameters(self.model))
        return compare_gradients(found, truth.gradient, exact=_full_precision(self.model, way))

    def _leaks(self, way: ForwardWay, micro: MicroBatch, before: list[Any]) -> bool:
        """Whether other tokens in every second example of a flat row change the losses of those between."""
        import torch

        if len(self.rows) < 2:
            return False
        pieces = list(micro.input_ids.split(micro.lengths, dim=1))
        for place in range(0, len(pieces), 2):
            pieces[place] = pieces[place].roll(1, dims=1)
        with torch.no_grad():
            changed = replace(micro, input_ids=torch.cat(pieces, dim=1))
            after = list(self.losses(self.model, changed, way).split([len(one) for one in before]))
        kept = slice(1, None, 2)
        # the shapes are the same, so what is left is noise of a mixture of experts at most
        full = tolerance(self.model, way) < 1e-3
        return difference(before[kept], after[kept]) > (LEAKED if full else LEAKED_HALF)


def self_check(checker: Checker, wanted: ForwardWay) -> Checked:
    """The first way, fastest first, that gives the losses and gradients of one plain pass per example.

    Other tokens in one example of a flat row must not change the losses of the others: random weights may
    hide in the first comparison what leaks.

    Raises:
        torch.OutOfMemoryError: the examples of the check do not fit.
    """
    import torch

    model = checker.model
    candidates = _candidates(wanted)
    problem = ""
    stock = model.config._attn_implementation
    with evaluating(model):
        truth = checker.truth(wanted)
        for way in candidates:
            try:
                switch_attention(model, way, stock)
                found = checker.compare(way, truth)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # whatever a model's own code makes of flat rows
                found = f"{type(error).__name__}: {error}"
            if not found:
                return Checked(way, problem)
            problem = problem or found
    return Checked(candidates[-1], problem, exact=False)


def _candidates(wanted: ForwardWay) -> list[ForwardWay]:
    """From what is wanted to padded rows with full logits."""

    def like(packing: bool, compact: bool, segments: bool) -> ForwardWay:
        return replace(wanted, packing=packing, compact=compact, segments=segments, shared=False)

    ways = [wanted]
    if wanted.packing:
        ways.append(like(True, False, wanted.segments))
        ways.append(like(True, wanted.compact, False))
        ways.append(like(False, wanted.compact, False))
    ways.append(like(False, False, False))
    return [way for place, way in enumerate(ways) if way not in ways[:place]]


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Without dropout, and the mode it was in after it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


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


def compare_gradients(found: Sequence[Any], truth: Sequence[Any], exact: bool) -> str:
    """What is wrong with a gradient; empty if it is the true one to rounding.

    Args:
        exact: Computed in float32 throughout.
    """
    pairs = [(one.float(), other.float()) for one, other in zip(found, truth, strict=True)]
    apart = sum(float((one - other).square().sum()) for one, other in pairs)
    size = sum(float(other.square().sum()) for _unused, other in pairs)
    if not math.isfinite(apart):
        return _("the gradient is not a number") if math.isfinite(size) else ""
    share = math.sqrt(apart / size) if size > 0 else (math.inf if apart > 0 else 0.0)
    return (
        _("the gradient differs by {share:.2%}", share=share)
        if share > (GRADIENT if exact else GRADIENT_HALF)
        else ""
    )


def _added(one: list[Any], other: list[Any]) -> list[Any]:
    return [a + b for a, b in zip(one, other, strict=True)] if one else other


def difference(found: Sequence[Any], truth: Sequence[Any]) -> float:
    """The largest root mean square difference of an example's losses; infinite where one is not a number."""
    worst = 0.0
    for one, other in zip(found, truth, strict=True):
        if len(other):
            apart = float((one - other).square().mean().sqrt())
            worst = max(worst, apart if math.isfinite(apart) else math.inf)
    return worst


def tolerance(model: Any, way: ForwardWay) -> float:
    """How far losses may be apart, in nats a token."""
    return 1e-4 if _full_precision(model, way) else 0.1


def _full_precision(model: Any, way: ForwardWay) -> bool:
    import torch

    return way.autocast is None and model.dtype == torch.float32
