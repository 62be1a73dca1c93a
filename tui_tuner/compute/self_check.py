"""Tests of fast ways to compute against plain forward passes and gradients, before a way is used.

Compared are the losses of an objective, one per target and example by example, and the gradients of the
trained parameters of one layer over the shorter examples. This happens in float32, whatever dtype the run
uses: there the root mean square difference of an example's losses must stay below 1e-4. If the run computes
in 16 bits, which have other kernels, a way is tested in them too: its difference from the truth must not
exceed a few times that of plain passes in 16 bits.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tui_tuner.compute.differences import (
    Difference,
    add_gradients,
    compute_gradient,
    find_checked_parameters,
    measure_gradient_share,
    measure_loss_difference,
)
from tui_tuner.compute.forward import ForwardWay, MicroBatch, Rows, switch_attention
from tui_tuner.compute.precision import compute_in_float32, computes_in_float32, find_float32_problem
from tui_tuner.compute.rows.row_layout import RowLayout
from tui_tuner.locales import _
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.models.out_of_memory import is_out_of_memory

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Computes the losses of a micro-batch by a way: [n] float32, one per target in the order of the examples
LossesOf = Callable[[Any, MicroBatch, ForwardWay], Any]

GRADIENT_ROWS = 3  # the shortest: a backward pass here keeps activations that training may recompute
LEAKED, LEAKED_HALF = 5e-6, 2e-2


@dataclass(frozen=True)
class Bounds:
    """The allowed differences of a way from the truth.

    Args:
        loss: Root mean square difference of an example's losses, in nats.
        gradient: Relative difference.
    """

    loss: float
    gradient: float


EXACT = Bounds(1e-4, 1e-3)  # float32
LEAST_HALF = Bounds(2e-2, 5e-2)  # 16 bits: smaller differences may be rounding
MOST_HALF = Bounds(0.1, 0.2)  # 16 bits without a truth in float32
TIMES_NOISE = 4.0


@dataclass(frozen=True)
class CheckResult:
    """The way that passed, and why a faster one did not; `problem` is empty if the first one passed.

    If `exact` is False, none passed, and only batches of a single example are correct. `unsure` says why
    nothing was tested in float32; empty if it was.
    """

    way: ForwardWay
    problem: str = ""
    exact: bool = True
    unsure: str = ""


@dataclass
class Truth:
    """The losses of each example computed alone, and the gradient over the graded ones."""

    losses: list[Tensor]
    gradient: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Reference:
    """A truth, the allowed differences from it, and whether the way is computed in float32."""

    truth: Truth
    bounds: Bounds
    exact: bool


# Measures the difference of a way from a truth, in the dtype of the way
Compare = Callable[[ForwardWay, Reference], Difference]


class PassCount:
    """Counts the forward passes of a check: those done, and those known to be needed.

    Args:
        say: Called with both before each pass.
    """

    def __init__(self, say: Callable[[int, int], None] = lambda done, needed: None) -> None:
        self._say, self._done, self._needed = say, 0, 0

    def expect_passes(self, passes: int) -> None:
        self._needed += passes

    def begin_pass(self) -> None:
        self._needed = max(self._needed, self._done + 1)
        self._say(self._done, self._needed)
        self._done += 1

    def end_count(self) -> None:
        """Set the expected passes to those done: some may not have been needed."""
        self._needed = self._done
        self._say(self._done, self._done)


class Checker:
    """Compares ways to compute on a few examples of a run.

    Args:
        rows: The numbers of the examples, shortest first.
        losses: Computes the objective's losses.
        plain: Computes the same for a single example in the plainest way.
        graded: How many of the rows have their gradients compared.
        float32: Whether to compare in float32 if the run uses another dtype.
        count: Counts each forward pass.
        laying: Lays examples out; by default as for a model that reads one text.

    Attributes:
        unsure: Why nothing was compared in float32; empty if it was.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        data: Rows,
        rows: Sequence[int],
        device: torch.device,
        pad: int,
        losses: LossesOf,
        plain: LossesOf,
        graded: int = GRADIENT_ROWS,
        float32: bool = True,
        count: PassCount | None = None,
        laying: RowLayout | None = None,
    ) -> None:
        self.model, self.data, self.rows = model, data, list(rows)
        self.device, self.pad = device, pad
        self.laying = RowLayout(pad) if laying is None else laying
        self.losses, self.plain = losses, plain
        self.graded, self.float32 = graded, float32
        self.unsure = ""
        self.count = count or PassCount()
        self._noise: Difference | None = None

    def lay_micro_batch(self, rows: Sequence[int], way: ForwardWay) -> MicroBatch:
        return self.laying.lay_rows(way, self.data, rows, training=False).to(self.device)

    @contextlib.contextmanager
    def use_numbers(self, way: ForwardWay, exact: bool) -> Iterator[ForwardWay]:
        """Yield the way in float32 if `exact`, else in the dtype of the run."""
        if not exact or computes_in_float32(self.model, way.autocast):
            yield way
            return
        with compute_in_float32(self.model):
            yield replace(way, autocast=None)

    def list_references(self, way: ForwardWay) -> list[Reference]:
        """List the references for a way: float32 if possible, and the dtype of the run.

        Raises:
            torch.OutOfMemoryError: the examples of the check do not fit.
        """
        if computes_in_float32(self.model, way.autocast):
            return [Reference(self.compute_truth(way), EXACT, True)]
        exact = self._compute_exact_truth(way)
        if exact is None:
            own = self.compute_truth(way)
            return [Reference(own, self._measure_half_bounds(way, own), False)]
        return [Reference(exact, EXACT, True), Reference(exact, LEAST_HALF, False)]

    def try_way(self, way: ForwardWay, references: Sequence[Reference], compare: Compare) -> str:
        """Describe the fault of a way against any reference, as `compare` measures it; empty without one."""
        for reference in references:
            with self.use_numbers(way, reference.exact) as computed:
                apart = compare(computed, reference)
                bounds = self._widen_bounds(computed, reference, apart)
                found = apart.describe_problem(bounds.loss, bounds.gradient)
            if found:
                return found
        return ""

    def _widen_bounds(self, way: ForwardWay, reference: Reference, apart: Difference) -> Bounds:
        """Return the bounds of a reference; in 16 bits, wide enough for plain passes to stay within them."""
        # A mixture of experts may choose other experts in 16 bits, and rounding changes the losses of a
        # trained model by a hundredth. Plain passes cost as much as the way, so they run only if they decide.
        bounds = reference.bounds
        if bounds is not LEAST_HALF:
            return bounds
        if apart.loss_difference > bounds.loss:
            noise = self._measure_rounding(way, reference).loss_difference
            bounds = replace(bounds, loss=max(bounds.loss, TIMES_NOISE * noise))
        if not apart.describe_problem(bounds.loss, math.inf) and apart.gradient_difference > bounds.gradient:
            noise = self._measure_rounding(way, reference).gradient_difference
            bounds = replace(bounds, gradient=max(bounds.gradient, TIMES_NOISE * noise))
        return bounds

    def _measure_rounding(self, way: ForwardWay, reference: Reference) -> Difference:
        """Measure the difference of plain passes in 16 bits from the truth, on demand and once."""
        if self._noise is None:
            truth = reference.truth
            self._noise = Difference(
                lambda: measure_loss_difference(
                    self.compute_truth(way, self.rows, graded=0).losses, truth.losses
                ),
                lambda: measure_gradient_share(
                    self.compute_truth(way, self.rows[: self.graded]).gradient, truth.gradient
                ),
            )
        return self._noise

    def compute_truth(self, way: ForwardWay, rows: Sequence[int] = (), graded: int | None = None) -> Truth:
        """Compute each example alone: no packing, no padding, no choice of positions.

        Args:
            rows: The rows to compute; all if empty.
            graded: How many have their gradients computed; the number to compare if None.
        """
        import torch

        parameters = find_checked_parameters(self.model)
        chosen = rows or self.rows
        self.count.expect_passes(len(chosen))
        most = (self.graded if graded is None else graded) if parameters else 0
        found = Truth([])
        for place, row in enumerate(chosen):
            self.count.begin_pass()
            with torch.set_grad_enabled(place < most):
                micro = self.laying.lay_alone(self.data, [row]).to(self.device)
                losses = self.plain(self.model, micro, way)
                if place < most and losses.requires_grad:
                    found.gradient = add_gradients(found.gradient, compute_gradient(losses, parameters))
            found.losses.append(losses.detach())
        return found

    def _compute_exact_truth(self, way: ForwardWay) -> Truth | None:
        """Compute the truth in float32; or return None, with the reason in `unsure`."""
        if not self.float32:
            self.unsure = _("memory ran out in float32")
            return None
        self.unsure = find_float32_problem(self.model, self.device)
        if self.unsure:
            return None
        try:
            with self.use_numbers(way, exact=True) as full:
                return self.compute_truth(full)
        except Exception as error:  # such as attention that supports 16 bits only
            if is_out_of_memory(error):
                raise
            self.unsure = f"{type(error).__name__}: {error}"
            return None

    def _measure_half_bounds(self, way: ForwardWay, own: Truth) -> Bounds:
        """Measure the difference of two plain orders of summation in 16 bits, as bounds."""
        import torch

        # Padding changes how kernels split their products, and with it the order of summation.
        try:
            self.count.begin_pass()
            with torch.no_grad():
                micro = self.laying.lay_alone(self.data, self.rows).to(self.device)
                losses = self.plain(self.model, micro, way)
            apart = measure_loss_difference(losses.split([len(one) for one in own.losses]), own.losses)
        except Exception as error:  # an objective that computes one example at a time
            if is_out_of_memory(error):
                raise
            return MOST_HALF
        return Bounds(min(MOST_HALF.loss, max(LEAST_HALF.loss / 10, TIMES_NOISE * apart)), MOST_HALF.gradient)

    def compare_way(self, way: ForwardWay, reference: Reference) -> Difference:
        """Measure the difference of a way from the truth, in the dtype of the way."""
        import torch

        truth, lengths = reference.truth, [len(one) for one in reference.truth.losses]
        micro = self.lay_micro_batch(self.rows, way)
        self.count.expect_passes(1 + bool(truth.gradient) + self._may_leak(way, micro, reference))
        self.count.begin_pass()
        with torch.no_grad():
            found = list(self.losses(self.model, micro, way).split(lengths))

        def gradient() -> float:
            if not truth.gradient:
                return 0.0
            self.count.begin_pass()
            with torch.enable_grad():
                losses = self.losses(self.model, self.lay_micro_batch(self.rows[: self.graded], way), way)
                return measure_gradient_share(
                    compute_gradient(losses, find_checked_parameters(self.model)), truth.gradient
                )

        return Difference(
            lambda: measure_loss_difference(found, truth.losses),
            gradient,
            lambda: self._may_leak(way, micro, reference) and self._finds_leak(way, micro, found, reference),
        )

    def _may_leak(self, way: ForwardWay, micro: MicroBatch, reference: Reference) -> bool:
        """Return whether a test must show that examples do not attend to each other."""
        # The test in float32 has shown it already, except on GPUs, which use other kernels for 16 bits.
        known = not (reference.exact or self.unsure) and not micro.input_ids.is_cuda
        return way.packing and len(self.rows) >= 2 and not known

    def _finds_leak(
        self, way: ForwardWay, micro: MicroBatch, before: list[Tensor], reference: Reference
    ) -> bool:
        """Return whether other tokens in every second example of a flat row change the losses of the rest."""
        import torch

        # With random weights, comparing losses may miss that examples attend to each other; changed tokens
        # show it.
        self.count.begin_pass()
        with torch.no_grad():
            changed = self.laying.change_others(micro)
            after = list(self.losses(self.model, changed, way).split([len(one) for one in before]))
        kept = slice(1, None, 2)
        # All shapes are the same, so the only other difference is the noise of a mixture of experts.
        return measure_loss_difference(before[kept], after[kept]) > (
            LEAKED if reference.exact else LEAKED_HALF
        )


def find_fastest_way(checker: Checker, wanted: ForwardWay) -> CheckResult:
    """Find the fastest way that gives the losses and gradients of one plain pass per example.

    Raises:
        torch.OutOfMemoryError: the examples of the check do not fit.
    """
    model = checker.model
    candidates = _list_candidates(wanted)
    problem = ""
    stock = model.config._attn_implementation
    with use_evaluation_mode(model):
        references = checker.list_references(wanted)
        for way in candidates:
            try:
                switch_attention(model, way, stock)
                found = checker.try_way(way, references, checker.compare_way)
            except Exception as error:  # a model's own code may fail on flat rows in any way
                if is_out_of_memory(error):
                    raise
                found = f"{type(error).__name__}: {error}"
            if not found:
                return CheckResult(way, problem, unsure=checker.unsure)
            problem = problem or found
    return CheckResult(candidates[-1], problem, exact=False, unsure=checker.unsure)


def make_plainest_way(wanted: ForwardWay) -> ForwardWay:
    """Return the way of padded rows with full logits, which is always exact for a single example."""
    return replace(wanted, packing=False, compact=False, segments=False, shared=False, filled=False)


def _list_candidates(wanted: ForwardWay) -> list[ForwardWay]:
    """List ways from the wanted one to padded rows with full logits, fastest first."""

    def like(packing: bool, compact: bool, segments: bool) -> ForwardWay:
        return replace(wanted, packing=packing, compact=compact, segments=segments, shared=False)

    ways = [wanted, replace(wanted, filled=False)]
    if wanted.packing:
        ways.append(like(True, False, wanted.segments))
        ways.append(like(True, wanted.compact, False))
        ways.append(like(False, wanted.compact, False))
    ways.append(make_plainest_way(wanted))
    return [way for place, way in enumerate(ways) if way not in ways[:place]]
