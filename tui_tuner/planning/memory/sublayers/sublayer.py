"""What bottleneck adapters have in common, line by line as in `methods/bottlenecks/adapted.py`.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from tui_tuner.methods.numbers.terms import Sublayers
from tui_tuner.planning.memory.meter import Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import simulate_addition
from tui_tuner.planning.memory.setup import Setup


class Sublayer:
    """What sits at one place. `parameters` are trained."""

    def __init__(self, setup: Setup, told: Sublayers) -> None:
        self.setup, self.told = setup, told
        self.width = float(setup.facts.hidden)
        self.parameters: list[Parameter] = []

    @property
    def compute_width(self) -> int:
        """Width in which products are computed."""
        return self.setup.compute if self.setup.autocast else self.setup.adapter

    def adapt_output(self, tape: Tape, result: Tensor, residual: Tensor) -> Tensor:
        """What a branch computed, with what the adapter makes of it added."""
        if self.told.style == "pfeiffer":
            read = simulate_addition(tape, residual, result)
        else:
            read = residual if self.told.style == "parallel" else result
        update = self.compute_update(tape, read)
        del read
        return simulate_addition(tape, result, tape.cast(update, result.width))

    def compute_update(self, tape: Tape, x: Tensor) -> Tensor:
        raise NotImplementedError

    def add_parameter(self, count: float, shape: tuple[int, ...] = ()) -> Parameter:
        """Add a trained parameter of so many elements, in the adapter's dtype."""
        parameter = Parameter(count, self.setup.adapter, shape=shape)
        self.parameters.append(parameter)
        return parameter

    def run_trained(self, tape: Tape, x: Tensor, outputs: float, own: tuple[Parameter, ...]) -> Tensor:
        """A linear layer with trained weights (weight, bias) that gives so many elements."""
        compute = self.compute_width
        inner = tape.cast(x, compute)
        saved = [inner.buffer]
        if own[0].width != compute:  # autocast's copies, which it keeps until the forward pass is through
            copy = Buffer(tape.meter, own[0].count * compute, "16-bit copies of weights")
            tape.meter.cache.append(copy)
            saved.append(copy)
        grads = tuple((one, one.count * compute) for one in own)
        return tape.run_op(outputs, compute, (inner,), tuple(saved), parameters=grads)

    def run_frozen(self, tape: Tape, x: Tensor, outputs: float, weights: float) -> Tensor:
        """A linear layer with frozen weights, of which autocast's copy is kept for the input's gradient."""
        compute = self.compute_width
        inner = tape.cast(x, compute)
        saved: tuple[Buffer, ...] = ()
        if self.setup.adapter != compute:
            saved = (Buffer(tape.meter, weights * compute, "16-bit copies of weights"),)
        return tape.run_op(outputs, compute, (inner,), saved)

    def run_function(self, tape: Tape, low: Tensor) -> Tensor:
        """The non-linearity, which keeps its input or its result."""
        if self.told.keeps_input:
            return tape.run_op(low.count, low.width, (low,), (low.buffer,))
        made = Buffer(tape.meter, low.count * low.width)
        return tape.run_op(low.count, low.width, (low,), (made,), view=made)
