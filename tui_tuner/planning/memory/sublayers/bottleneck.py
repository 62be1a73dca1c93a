"""Bottleneck adapters, line by line as in `methods/bottlenecks/adapted.py`.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from tui_tuner.methods.numbers.terms import Sublayers
from tui_tuner.planning.memory.meter import SINGLE, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.sublayers.sublayer import Sublayer


class Bottleneck(Sublayer):
    """`up(function(down(x)))`, with a norm of its own before or after."""

    def __init__(self, setup: Setup, told: Sublayers) -> None:
        super().__init__(setup, told)
        size, width = float(told.sizes[0]), self.width
        self.size = size
        narrow, wide = int(size), int(width)
        self.down = (
            self.add_parameter(width * size, (narrow, wide)),
            self.add_parameter(size, (narrow,)),
        )
        self.up = (self.add_parameter(width * size, (wide, narrow)), self.add_parameter(width, (wide,)))
        normed = told.layer_norm != "none"
        self.norm = tuple(self.add_parameter(width, (wide,)) for _number in range(2)) if normed else ()

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
