"""Fast ways to compute are tried against plain forward passes, gradients included, before they are used.

What is compared are the losses of an objective, one for each thing learnt, example by example, and gradients
of the trained parameters of one layer over the shorter examples. It is done in float32, whatever the run
computes in: there the root mean square difference of an example's losses must stay below 1e-4. Where the run
computes in 16 bits, whose kernels are others, a way is tried in them too: it must not be farther from the
truth than a few times what plain passes in 16 bits are.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tui_tuner.compute.differences import (
    Apart,
    added,
    checked_parameters,
    difference,
    gradient_of,
    gradient_share,
)
from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, lay_padded, switch_attention
from tui_tuner.compute.precision import computes_in_float32, float32_problem, in_float32
from tui_tuner.compute.rows.laying import Laying
from tui_tuner.locales import _
from tui_tuner.models.evaluating import evaluating
from tui_tuner.models.out_of_memory import is_out_of_memory

# Losses of a micro-batch by a way, [n] float32 in the order of its examples: one for each thing learnt
LossesOf = Callable[[Any, MicroBatch, ForwardWay], Any]

GRADIENT_ROWS = 3  # the shortest ones: a backward pass keeps activations that training may compute again
LEAKED, LEAKED_HALF = 5e-6, 2e-2


@dataclass(frozen=True)
class Bounds:
    """How far a way may be from the truth.

    Args:
        loss: Root mean square difference of an example's losses, in nats.
        gradient: Relative difference.
    """

    loss: float
    gradient: float


EXACT = Bounds(1e-4, 1e-3)  # float32
LEAST_HALF = Bounds(2e-2, 5e-2)  # 16 bits: below, nothing is told from rounding
MOST_HALF = Bounds(0.1, 0.2)  # 16 bits without a truth in float32
TIMES_NOISE = 4.0


@dataclass(frozen=True)
class Checked:
    """The way that proved right, and why a faster one did not; `problem` is empty if all is well.

    Where `exact` is False, none did: then only batches of a single example are right. `unsure` says why
    nothing was tried in float32; empty if it was.
    """

    way: ForwardWay
    problem: str = ""
    exact: bool = True
    unsure: str = ""


@dataclass
class Truth:
    """Losses of each example alone, and the gradient that the graded ones give."""

    losses: list[Any]
    gradient: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Reference:
    """A truth, how far from it a way may be, and whether the way is computed in float32 for it."""

    truth: Truth
    bounds: Bounds
    exact: bool


# How far a way is from a truth, in the numbers that it is given in
Compare = Callable[[ForwardWay, Reference], Apart]


class PassCount:
    """Forward passes of a check: how many are done, and how many are known to be needed.

    Args:
        say: Told both before each pass.
    """

    def __init__(self, say: Callable[[int, int], None] = lambda done, needed: None) -> None:
        self._say, self._done, self._needed = say, 0, 0

    def expect(self, passes: int) -> None:
        self._needed += passes

    def begin(self) -> None:
        self._needed = max(self._needed, self._done + 1)
        self._say(self._done, self._needed)
        self._done += 1

    def end(self) -> None:
        """What was expected may not have been needed."""
        self._needed = self._done
        self._say(self._done, self._done)


class Checker:
    """Compares ways to compute on a few examples of a run.

    Args:
        rows: Their numbers, shortest first.
        losses: The objective's losses.
        plain: The same, computed for a single example in the most plain way.
        graded: How many of the rows have their gradients compared.
        float32: Whether to compute in float32 where the run does not.
        limit: Tokens that no padded row may have more of; 0 for those of its longest example.
        count: Told of each forward pass.

    Attributes:
        unsure: Why nothing was compared in float32; empty if it was.
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
        float32: bool = True,
        limit: int = 0,
        count: PassCount | None = None,
    ) -> None:
        self.model, self.data, self.rows = model, data, list(rows)
        self.limit = limit
        self.device, self.pad = device, pad
        self.losses, self.plain = losses, plain
        self.graded, self.float32 = graded, float32
        self.unsure = ""
        self.count = count or PassCount()
        self._noise: Apart | None = None

    def lay(self, rows: Sequence[int], way: ForwardWay) -> MicroBatch:
        laying = Laying(self.pad, self.limit)
        return laying.lay(way, self.data, rows, training=False).to(self.device)

    @contextlib.contextmanager
    def numbers(self, way: ForwardWay, exact: bool) -> Iterator[ForwardWay]:
        """The way in float32 if `exact`, else in the numbers of the run."""
        if not exact or computes_in_float32(self.model, way.autocast):
            yield way
            return
        with in_float32(self.model):
            yield replace(way, autocast=None)

    def references(self, way: ForwardWay) -> list[Reference]:
        """What a way is held against: float32 where that can be had, and the numbers of the run.

        Raises:
            torch.OutOfMemoryError: the examples of the check do not fit.
        """
        if computes_in_float32(self.model, way.autocast):
            return [Reference(self.truth(way), EXACT, True)]
        exact = self._exact_truth(way)
        if exact is None:
            own = self.truth(way)
            return [Reference(own, self._half_bounds(way, own), False)]
        return [Reference(exact, EXACT, True), Reference(exact, LEAST_HALF, False)]

    def tried(self, way: ForwardWay, references: Sequence[Reference], compare: Compare) -> str:
        """What is wrong with a way in any of the numbers, by what `compare` finds; empty if all is well."""
        for reference in references:
            with self.numbers(way, reference.exact) as computed:
                apart = compare(computed, reference)
                bounds = self._widened(computed, reference, apart)
                found = apart.problem(bounds.loss, bounds.gradient)
            if found:
                return found
        return ""

    def _widened(self, way: ForwardWay, reference: Reference, apart: Apart) -> Bounds:
        """The bounds of a reference; in 16 bits as wide as plain passes need, where a way keeps not to them.

        A mixture of experts may go another way in 16 bits, and a trained model has losses that rounding moves
        by a hundredth. Plain passes cost as much as the way does, so they are made where they decide.
        """
        bounds = reference.bounds
        if bounds is not LEAST_HALF:
            return bounds
        if apart.loss > bounds.loss:
            noise = self._rounding(way, reference).loss
            bounds = replace(bounds, loss=max(bounds.loss, TIMES_NOISE * noise))
        if not apart.problem(bounds.loss, math.inf) and apart.gradient > bounds.gradient:
            noise = self._rounding(way, reference).gradient
            bounds = replace(bounds, gradient=max(bounds.gradient, TIMES_NOISE * noise))
        return bounds

    def _rounding(self, way: ForwardWay, reference: Reference) -> Apart:
        """How far plain passes in 16 bits are from the truth."""
        if self._noise is None:
            truth = reference.truth
            self._noise = Apart(
                lambda: difference(self.truth(way, self.rows, graded=0).losses, truth.losses),
                lambda: gradient_share(self.truth(way, self.rows[: self.graded]).gradient, truth.gradient),
            )
        return self._noise

    def truth(self, way: ForwardWay, rows: Sequence[int] = (), graded: int | None = None) -> Truth:
        """Each example alone: no packing, no padding, no choice of positions.

        Args:
            rows: All of them if empty.
            graded: How many have their gradients computed; as many as are compared if None.
        """
        import torch

        parameters = checked_parameters(self.model)
        chosen = rows or self.rows
        self.count.expect(len(chosen))
        most = (self.graded if graded is None else graded) if parameters else 0
        found = Truth([])
        for place, row in enumerate(chosen):
            self.count.begin()
            with torch.set_grad_enabled(place < most):
                micro = lay_padded(self.data, [row], self.pad).to(self.device)
                losses = self.plain(self.model, micro, way)
                if place < most and losses.requires_grad:
                    found.gradient = added(found.gradient, gradient_of(losses, parameters))
            found.losses.append(losses.detach())
        return found

    def _exact_truth(self, way: ForwardWay) -> Truth | None:
        """The truth in float32, or None, and why in `unsure`."""
        if not self.float32:
            self.unsure = _("memory ran out in float32")
            return None
        self.unsure = float32_problem(self.model, self.device)
        if self.unsure:
            return None
        try:
            with self.numbers(way, exact=True) as full:
                return self.truth(full)
        except Exception as error:  # an attention that takes 16 bits only, or a model's own code
            if is_out_of_memory(error):
                raise
            self.unsure = f"{type(error).__name__}: {error}"
            return None

    def _half_bounds(self, way: ForwardWay, own: Truth) -> Bounds:
        """What two plain orders of summation differ by in 16 bits: padding lets products be cut otherwise."""
        import torch

        try:
            self.count.begin()
            with torch.no_grad():
                micro = lay_padded(self.data, self.rows, self.pad).to(self.device)
                losses = self.plain(self.model, micro, way)
            apart = difference(losses.split([len(one) for one in own.losses]), own.losses)
        except Exception as error:  # an objective that takes one example at a time
            if is_out_of_memory(error):
                raise
            return MOST_HALF
        return Bounds(min(MOST_HALF.loss, max(LEAST_HALF.loss / 10, TIMES_NOISE * apart)), MOST_HALF.gradient)

    def compare(self, way: ForwardWay, reference: Reference) -> Apart:
        """How far a way is from the truth in the numbers that it is given in."""
        import torch

        truth, lengths = reference.truth, [len(one) for one in reference.truth.losses]
        micro = self.lay(self.rows, way)
        self.count.expect(1 + bool(truth.gradient) + self._may_leak(way, micro, reference))
        self.count.begin()
        with torch.no_grad():
            found = list(self.losses(self.model, micro, way).split(lengths))

        def gradient() -> float:
            if not truth.gradient:
                return 0.0
            self.count.begin()
            with torch.enable_grad():
                losses = self.losses(self.model, self.lay(self.rows[: self.graded], way), way)
                return gradient_share(gradient_of(losses, checked_parameters(self.model)), truth.gradient)

        return Apart(
            lambda: difference(found, truth.losses),
            gradient,
            lambda: self._may_leak(way, micro, reference) and self._leaks(way, micro, found, reference),
        )

    def _may_leak(self, way: ForwardWay, micro: MicroBatch, reference: Reference) -> bool:
        """Whether it has to be tried if examples see each other."""
        # float32 has told; only GPUs have a kernel of their own for 16 bits
        known = not (reference.exact or self.unsure) and not micro.input_ids.is_cuda
        return way.packing and len(self.rows) >= 2 and not known

    def _leaks(self, way: ForwardWay, micro: MicroBatch, before: list[Any], reference: Reference) -> bool:
        """Whether other tokens in every second example of a flat row change the losses of those between."""
        import torch

        self.count.begin()
        pieces = list(micro.input_ids.split(micro.segments, dim=1))
        filler = range(len(micro.lengths), len(pieces))
        for place in {*range(0, len(pieces), 2), *filler}:
            pieces[place] = pieces[place].roll(1, dims=1)
        with torch.no_grad():
            changed = replace(micro, input_ids=torch.cat(pieces, dim=1))
            after = list(self.losses(self.model, changed, way).split([len(one) for one in before]))
        kept = slice(1, None, 2)
        # the shapes are the same, so what is left is noise of a mixture of experts at most
        return difference(before[kept], after[kept]) > (LEAKED if reference.exact else LEAKED_HALF)


def self_check(checker: Checker, wanted: ForwardWay) -> Checked:
    """The first way, fastest first, that gives the losses and gradients of one plain pass per example.

    Other tokens in one example of a flat row must not change the losses of the others: random weights may
    hide in the first comparison what leaks.

    Raises:
        torch.OutOfMemoryError: the examples of the check do not fit.
    """
    model = checker.model
    candidates = _candidates(wanted)
    problem = ""
    stock = model.config._attn_implementation
    with evaluating(model):
        references = checker.references(wanted)
        for way in candidates:
            try:
                switch_attention(model, way, stock)
                found = checker.tried(way, references, checker.compare)
            except Exception as error:  # whatever a model's own code makes of flat rows
                if is_out_of_memory(error):
                    raise
                found = f"{type(error).__name__}: {error}"
            if not found:
                return Checked(way, problem, unsure=checker.unsure)
            problem = problem or found
    return Checked(candidates[-1], problem, exact=False, unsure=checker.unsure)


def plainest(wanted: ForwardWay) -> ForwardWay:
    """Padded rows with full logits, which need no check where a batch is a single example."""
    return replace(wanted, packing=False, compact=False, segments=False, shared=False, filled=False)


def _candidates(wanted: ForwardWay) -> list[ForwardWay]:
    """From what is wanted to padded rows with full logits."""

    def like(packing: bool, compact: bool, segments: bool) -> ForwardWay:
        return replace(wanted, packing=packing, compact=compact, segments=segments, shared=False)

    ways = [wanted, replace(wanted, filled=False)]
    if wanted.packing:
        ways.append(like(True, False, wanted.segments))
        ways.append(like(True, wanted.compact, False))
        ways.append(like(False, wanted.compact, False))
    ways.append(plainest(wanted))
    return [way for place, way in enumerate(ways) if way not in ways[:place]]
