"""Adapters beside a linear layer, as PEFT's layers compute them (`peft/tuners/*/layer.py`, 0.12 to 0.21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui_tuner.models.facts import Linear
from tui_tuner.planning.memory.meter import Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import add, dropout
from tui_tuner.planning.memory.setup import Setup

if TYPE_CHECKING:
    from tui_tuner.planning.memory.linear import Matrix


class Adapter:
    """What one linear layer gets. `parameters` are trained."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        self.setup, self.shape = setup, shape
        self.parameters: list[Parameter] = []

    def trained(self, count: float) -> Parameter:
        """A new parameter of so many elements, in the adapter's dtype."""
        parameter = Parameter(count, self.setup.adapter)
        self.parameters.append(parameter)
        return parameter

    def __call__(self, tape: Tape, x: Tensor, base: Matrix) -> Tensor:
        raise NotImplementedError


class Lora(Adapter):
    """`result + lora_B(lora_A(dropout(x))) * scaling`."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.down = self.trained(float(setup.rank * shape.inputs) * shape.copies)
        self.up = self.trained(float(setup.rank * shape.outputs) * shape.copies)

    def __call__(self, tape: Tape, x: Tensor, base: Matrix) -> Tensor:
        result = base.base(tape, x)
        setup, width, rows = self.setup, result.width, base.rows(x)
        if not (setup.autocast and base.quantised):  # PEFT's 4-bit layers leave the cast to autocast
            x = tape.cast(x, setup.adapter)
        x_in = dropout(tape, x, setup.dropout)
        compute = setup.compute if setup.autocast else setup.adapter
        x_in = tape.cast(x_in, compute)
        copies = self._copies(tape, compute)
        low = tape.op(
            rows * setup.rank,
            compute,
            (x_in,),
            (x_in.buffer, *copies),
            parameters=((self.down, self.down.count * compute),),
        )
        del x_in
        out_count = rows * self.shape.outputs
        high = tape.op(
            out_count, compute, (low,), (low.buffer,), parameters=((self.up, self.up.count * compute),)
        )
        high = tape.op(out_count, high.width, (high,))
        high = self.scaled(tape, result, high)
        total = add(tape, result, high)
        del high
        return tape.cast(total, width)

    def scaled(self, tape: Tape, result: Tensor, high: Tensor) -> Tensor:
        """What is added to the frozen layer's result."""
        return high

    def _copies(self, tape: Tape, compute: int) -> tuple[Buffer, ...]:
        """Autocast's 16-bit copies of the adapter."""
        if self.down.width == compute:
            return ()
        copy = Buffer(tape.meter, (self.down.count + self.up.count) * compute, "16-bit copies of weights")
        tape.meter.cache.append(copy)
        return (copy,)


class Dora(Lora):
    """`(scale - 1) * base + scale * lora`; the norm itself has no gradient."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.magnitude = self.trained(float(shape.outputs))

    def scaled(self, tape: Tape, result: Tensor, high: Tensor) -> Tensor:
        base = tape.op(result.count, result.width, (result,), (result.buffer,))
        scaled = tape.op(
            high.count,
            high.width,
            (high,),
            (high.buffer,),
            parameters=((self.magnitude, self.magnitude.count * high.width),),
        )
        return add(tape, base, scaled)


class Ia3(Adapter):
    """`result * scaling`, one factor for each output."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.vector = self.trained(float(shape.outputs))

    def __call__(self, tape: Tape, x: Tensor, base: Matrix) -> Tensor:
        result = base.base(tape, x)
        setup = self.setup
        grads = ((self.vector, self.vector.count * setup.adapter),)
        extra = result.count * setup.adapter  # the product, before it is summed over the rows
        scaled = tape.op(
            result.count, setup.adapter, (result,), (result.buffer,), parameters=grads, extra=extra
        )
        return tape.cast(scaled, result.width)


KINDS: dict[str, type[Adapter]] = {"dora": Dora, "ia3": Ia3}


def adapter_for(setup: Setup, shape: Linear) -> Adapter:
    """The adapter of `setup.variant` for a matrix of this shape."""
    return KINDS.get(setup.variant, Lora)(setup, shape)
