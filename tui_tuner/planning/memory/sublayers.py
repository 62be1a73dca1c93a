"""Bottleneck adapters and their fusion, line by line as in `methods/bottlenecks/adapted.py` and `fusing.py`.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from collections.abc import Iterator

from tui_tuner.methods.numbers.terms import Sublayers
from tui_tuner.planning.memory.meter import SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import add_tensors
from tui_tuner.planning.memory.setup import Setup


def make_sublayers(setup: Setup, trained: bool) -> dict[str, Sublayer]:
    """Make the adapters of one layer, by the branch that they belong to: `attention`, `feed` or both."""
    told = setup.sublayers
    if told is None or not trained:
        return {}
    made = Fused if told.fused else Bottleneck
    branches = ("attention", "feed") if told.style == "houlsby" else ("feed",)
    return {branch: made(setup, told) for branch in branches}


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
            read = add_tensors(tape, residual, result)
        else:
            read = residual if self.told.style == "parallel" else result
        update = self.compute_update(tape, read)
        del read
        return add_tensors(tape, result, tape.cast(update, result.width))

    def add_to_sum(self, tape: Tape, total: Tensor, normed: Tensor) -> Tensor:
        """The sum of a branch and its residual, with what the adapter makes of its norm added."""
        return add_tensors(tape, total, tape.cast(self.compute_update(tape, normed), total.width))

    def compute_update(self, tape: Tape, x: Tensor) -> Tensor:
        raise NotImplementedError

    def add_parameter(self, count: float) -> Parameter:
        """Add a trained parameter of so many elements, in the adapter's dtype."""
        parameter = Parameter(count, self.setup.adapter)
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


class Bottleneck(Sublayer):
    """`up(function(down(x)))`, with a norm of its own before or after."""

    def __init__(self, setup: Setup, told: Sublayers) -> None:
        super().__init__(setup, told)
        size, width = float(told.sizes[0]), self.width
        self.size = size
        self.down = (self.add_parameter(width * size), self.add_parameter(size))
        self.up = (self.add_parameter(width * size), self.add_parameter(width))
        normed = told.layer_norm != "none"
        self.norm = (self.add_parameter(width), self.add_parameter(width)) if normed else ()

    def compute_update(self, tape: Tape, x: Tensor) -> Tensor:
        rows = x.count / self.width
        x = tape.cast(x, self.setup.adapter)
        if self.told.layer_norm == "before":
            x = self._normalise(tape, x)
        low = self.run_trained(tape, x, rows * self.size, self.down)
        low = self.run_function(tape, low)
        update = self.run_trained(tape, low, rows * self.width, self.up)
        del low
        if self.told.scaled:
            update = tape.run_op(update.count, update.width, (update,))
        return self._normalise(tape, update) if self.told.layer_norm == "after" else update

    def _normalise(self, tape: Tape, x: Tensor) -> Tensor:
        inner = tape.cast(x, SINGLE) if self.setup.autocast else x
        grads = tuple((one, one.count * inner.width) for one in self.norm)
        return tape.run_op(x.count, inner.width, (inner,), (inner.buffer,), parameters=grads)


class Fused(Sublayer):
    """Attention over what several frozen adapters make of x."""

    def __init__(self, setup: Setup, told: Sublayers) -> None:
        super().__init__(setup, told)
        square = self.width**2
        self.query = (self.add_parameter(square), self.add_parameter(self.width))
        self.key = (self.add_parameter(square), self.add_parameter(self.width))
        self.value = (self.add_parameter(square),)

    def compute_update(self, tape: Tape, x: Tensor) -> Tensor:
        rows, adapters = x.count / self.width, len(self.told.sizes)
        x = tape.cast(x, self.setup.adapter)
        made = self._run_adapters(tape, x, rows)
        key = self.run_trained(tape, made, made.count, self.key)
        query = self.run_trained(tape, x, x.count, self.query)
        scores = tape.run_op(rows * adapters, key.width, (key, query), (key.buffer, query.buffer))
        del key, query
        inner = tape.cast(scores, SINGLE) if self.setup.autocast else scores
        soft = Buffer(tape.meter, inner.count * inner.width)
        weights = tape.run_op(inner.count, inner.width, (inner,), (soft,), view=soft)
        del soft, inner
        values = self.run_trained(tape, made, made.count, self.value)
        narrow = tape.cast(weights, values.width)
        return tape.run_op(x.count, values.width, (narrow, values), (narrow.buffer, values.buffer))

    def _run_adapters(self, tape: Tape, x: Tensor, rows: float) -> Tensor:
        sizes, width = self.told.sizes, self.width
        every = float(sum(sizes))
        low = self.run_frozen(tape, x, rows * every, every * width)
        made: list[Tensor] = []
        for size in sizes:
            part = tape.run_op(rows * size, low.width, (low,), view=low.buffer)
            inner = self.run_function(tape, part)
            high = self.run_frozen(tape, inner, rows * width, size * width)
            made.append(tape.run_op(high.count, high.width, (high,)) if self.told.scaled else high)
            del part, inner, high
        return tape.run_op(rows * width * len(sizes), made[0].width, tuple(made))


def list_frozen_sizes(setup: Setup) -> Iterator[float]:
    """Yield the elements of each frozen tensor of adapters that are fused, in one layer."""
    told = setup.sublayers
    if told is None or not told.fused:
        return
    width, every = float(setup.facts.hidden), float(sum(told.sizes))
    for _branch in range(2 if told.style == "houlsby" else 1):
        yield from (every * width, every, every * width, width * len(told.sizes))
