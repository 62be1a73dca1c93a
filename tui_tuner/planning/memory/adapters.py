"""Adapters beside a linear layer, as PEFT's layers compute them (`peft/tuners/*/layer.py`, 0.12 to 0.21).

LoRA, DoRA and IA3; others are in `adapters_more`.
"""

from __future__ import annotations

from typing import Protocol

from tui_tuner.models.architectures.family import Linear
from tui_tuner.planning.memory.meter import Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import add, dropout
from tui_tuner.planning.memory.setup import Setup


class AdaptedLinear(Protocol):
    """What an adapter needs of the linear layer it is attached to."""

    @property
    def quantised(self) -> bool: ...

    def rows(self, x: Tensor) -> float: ...

    def base(self, tape: Tape, x: Tensor) -> Tensor: ...


class Adapter:
    """What one linear layer gets. `parameters` are trained."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        self.setup, self.shape = setup, shape
        self.parameters: list[Parameter] = []

    @property
    def compute(self) -> int:
        """Width in which matrix products are computed."""
        return self.setup.compute if self.setup.autocast else self.setup.adapter

    def trained(self, count: float) -> Parameter:
        """A new parameter of so many elements, in the adapter's dtype."""
        parameter = Parameter(count, self.setup.adapter)
        self.parameters.append(parameter)
        return parameter

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        raise NotImplementedError


class Lora(Adapter):
    """`result + lora_B(lora_A(dropout(x))) * scaling`."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.down = self.trained(float(setup.rank * shape.inputs) * shape.copies)
        self.up = self.trained(float(setup.rank * shape.outputs) * shape.copies)

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.base(tape, x)
        setup, width, rows = self.setup, result.width, base.rows(x)
        if not (setup.autocast and base.quantised):  # PEFT's 4-bit layers leave the cast to autocast
            x = tape.cast(x, setup.adapter)
        high = self.low_rank(tape, dropout(tape, x, setup.dropout), rows)
        high = tape.op(high.count, high.width, (high,))
        total = add(tape, result, high)
        del high
        return tape.cast(total, width)

    def low_rank(self, tape: Tape, x: Tensor, rows: float) -> Tensor:
        """`lora_B(lora_A(x))` of so many vectors."""
        compute = self.compute
        x_in = tape.cast(x, compute)
        copies = self._copies(tape, compute)
        low = tape.op(
            rows * self.setup.rank,
            compute,
            (x_in,),
            (x_in.buffer, *copies),
            parameters=((self.down, self.down.count * compute),),
        )
        del x, x_in
        out_count = rows * self.shape.outputs
        return tape.op(
            out_count, compute, (low,), (low.buffer,), parameters=((self.up, self.up.count * compute),)
        )

    def _copies(self, tape: Tape, compute: int) -> tuple[Buffer, ...]:
        """Autocast's 16-bit copies of the adapter."""
        if self.down.width == compute:
            return ()
        copy = Buffer(tape.meter, (self.down.count + self.up.count) * compute, "16-bit copies of weights")
        tape.meter.cache.append(copy)
        return (copy,)


class Dora(Lora):
    """`(scale - 1) * base + scale * lora`; the norm itself has no gradient.

    For the norm, every forward pass writes the product of the low-rank matrices, as `lora_B(lora_A(1))`, and
    its sum with the frozen weight. What is scaled is in the magnitudes' dtype (`peft/tuners/lora/dora.py`).
    """

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.magnitude = self.trained(float(shape.outputs))

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.base(tape, x)
        width = result.width
        left_to_autocast = self.setup.autocast and base.quantised
        x = dropout(tape, x if left_to_autocast else tape.cast(x, self.setup.adapter), self.setup.dropout)
        held = self._norm(tape, x.width, base)
        high = self.low_rank(tape, x, base.rows(x))
        frozen = result
        if self.setup.dropout:  # the frozen layer is computed again, from what dropout left
            frozen = tape.op(result.count, self.compute, (tape.cast(x, self.compute),))
        high = self._scaled(tape, high)
        high = tape.op(high.count, high.width, (high,))
        high = add(tape, self._scaled(tape, frozen), high)
        del held, frozen
        total = add(tape, result, high)
        del high
        return total if left_to_autocast else tape.cast(total, width)

    def _scaled(self, tape: Tape, part: Tensor) -> Tensor:
        """`part` times a factor for each output."""
        width = self.setup.adapter
        extra = 2 * part.count * width  # both products, before one is summed and the other cast
        grads = ((self.magnitude, self.magnitude.count * width),)
        return tape.op(part.count, width, (part,), (part.buffer,), parameters=grads, extra=extra)

    def _norm(self, tape: Tape, width: int, base: AdaptedLinear) -> list[Buffer]:
        """What lives until the layer is through: the product, and the frozen weight as wide as the input."""

        def matrix(count: float, of_width: int) -> Buffer:
            return Buffer(tape.meter, count * of_width, "norms of weights")

        setup, compute = self.setup, self.compute
        whole, square = float(self.shape.inputs * self.shape.outputs), float(self.shape.inputs**2)
        unit = matrix(square, setup.adapter)
        held = [matrix(square, compute) if compute != setup.adapter else unit]
        product = matrix(whole, compute)
        del unit
        held.append(matrix(whole, width) if width != compute else product)
        del product
        stored = setup.compute if base.quantised else setup.weight
        weight = matrix(whole, stored) if base.quantised else None
        if stored != width:
            weight = matrix(whole, width)
        held += [weight] if weight is not None else []
        sums = [matrix(whole, width), matrix(whole, width)]
        del sums, weight
        return held


class Ia3(Adapter):
    """`result * scaling`, a factor for each output; or, in `feedforward` layers, one for each input."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.inputs = shape.name in setup.feedforward
        self.vector = self.trained(float(shape.inputs if self.inputs else shape.outputs))

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        if not self.inputs:
            result = base.base(tape, x)
            return tape.cast(self._scale(tape, result), result.width)
        return base.base(tape, tape.cast(self._scale(tape, tape.cast(x, self.setup.adapter)), x.width))

    def _scale(self, tape: Tape, x: Tensor) -> Tensor:
        grads = ((self.vector, self.vector.count * self.setup.adapter),)
        product = x.count * self.setup.adapter  # before it is summed over the rows
        return tape.op(x.count, self.setup.adapter, (x,), (x.buffer,), parameters=grads, extra=product)
