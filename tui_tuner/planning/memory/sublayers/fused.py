"""The fusion of bottleneck adapters, line by line as in `methods/bottlenecks/fusing.py`.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from collections.abc import Iterator

from tui_tuner.methods.numbers.terms import Sublayers
from tui_tuner.planning.memory.meter import SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.sublayers.sublayer import Sublayer


class Fused(Sublayer):
    """Attention over what several frozen adapters make of x."""

    def __init__(self, setup: Setup, told: Sublayers) -> None:
        super().__init__(setup, told)
        square, wide = self.width**2, int(self.width)

        def add_weight() -> Parameter:
            return self.add_parameter(square, (wide, wide))

        self.query = (add_weight(), self.add_parameter(self.width, (wide,)))
        self.key = (add_weight(), self.add_parameter(self.width, (wide,)))
        self.value = (add_weight(),)

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
