"""Adapters of a linear layer, as PEFT's layers compute them (`peft/tuners/*/layer.py`, 0.12 to 0.21).

LoRA, DoRA and IA3; others are in `adapters_more`.
"""

from __future__ import annotations

from typing import Protocol

from tui_tuner.models.architectures.family import Linear
from tui_tuner.planning.memory.meter import Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import simulate_addition, simulate_dropout
from tui_tuner.planning.memory.setup import Setup


class AdaptedLinear(Protocol):
    """The part of a linear layer that its adapter uses."""

    @property
    def quantised(self) -> bool: ...

    def count_rows(self, x: Tensor) -> float: ...

    def run_base(self, tape: Tape, x: Tensor) -> Tensor: ...


class Adapter:
    """An adapter of one linear layer. `parameters` are trained."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        self.setup, self.shape = setup, shape
        self.parameters: list[Parameter] = []

    @property
    def compute_width(self) -> int:
        """Return the bytes per element in which matrix products are computed."""
        return self.setup.compute if self.setup.autocast else self.setup.adapter

    def add_parameter(self, count: float, shape: tuple[int, ...] = ()) -> Parameter:
        """Add a trained parameter of so many elements, in the adapter's dtype."""
        parameter = Parameter(count, self.setup.adapter, shape=shape)
        self.parameters.append(parameter)
        return parameter

    def add_matrix(self, outputs: int, inputs: int) -> Parameter:
        """Add a trained matrix for each copy of the linear layer."""
        copies = self.shape.copies
        return self.add_parameter(float(outputs * inputs) * copies, (outputs, inputs) if copies == 1 else ())

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        raise NotImplementedError


class Lora(Adapter):
    """`result + lora_B(lora_A(dropout(x))) * scaling`."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.rank = setup.find_rank(shape.name)
        self.down = self.add_matrix(self.rank, shape.inputs)
        self.up = self.add_matrix(shape.outputs, self.rank)

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.run_base(tape, x)
        setup, width, rows = self.setup, result.width, base.count_rows(x)
        if not (setup.autocast and base.quantised):  # PEFT's 4-bit layers leave the cast to autocast
            x = tape.cast(x, setup.adapter)
        high = self.low_rank(tape, simulate_dropout(tape, x, setup.dropout), rows)
        high = tape.run_op(high.count, high.width, (high,))
        total = simulate_addition(tape, result, high)
        del high
        return tape.cast(total, width)

    def low_rank(self, tape: Tape, x: Tensor, rows: float) -> Tensor:
        """Simulate `lora_B(lora_A(x))` over so many vectors."""
        compute = self.compute_width
        # Autocast casts input and weights for each product; the copies are what autograd keeps
        x_in = tape.cast(x, compute)
        copies = self._copy_adapter(tape, compute)
        low = tape.run_op(
            rows * self.rank,
            compute,
            (x_in,),
            (x_in.buffer, *copies),
            parameters=((self.down, self.down.count * compute),),
        )
        del x, x_in
        out_count = rows * self.shape.outputs
        return tape.run_op(
            out_count, compute, (low,), (low.buffer,), parameters=((self.up, self.up.count * compute),)
        )

    def _copy_adapter(self, tape: Tape, compute: int) -> tuple[Buffer, ...]:
        """Simulate autocast's 16-bit copies of the adapter."""
        # Without a cast there is no copy to cache
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
        self.magnitude = self.add_parameter(float(shape.outputs), (shape.outputs,))

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.run_base(tape, x)
        width = result.width
        # PEFT's quantised layers skip their own cast when autocast is active
        left_to_autocast = self.setup.autocast and base.quantised
        x = simulate_dropout(
            tape, x if left_to_autocast else tape.cast(x, self.setup.adapter), self.setup.dropout
        )
        held = self._compute_norm(tape, x.width, base)
        high = self.low_rank(tape, x, base.count_rows(x))
        frozen = result
        if self.setup.dropout:  # the frozen layer is computed again, from what dropout left
            frozen = tape.run_op(result.count, self.compute_width, (tape.cast(x, self.compute_width),))
        high = self._scale_part(tape, high)
        high = tape.run_op(high.count, high.width, (high,))
        high = simulate_addition(tape, self._scale_part(tape, frozen), high)
        del held, frozen
        total = simulate_addition(tape, result, high)
        del high
        return total if left_to_autocast else tape.cast(total, width)

    def _scale_part(self, tape: Tape, part: Tensor) -> Tensor:
        """Simulate `part` times a factor for each output."""
        width = self.setup.adapter
        extra = 2 * part.count * width  # both products, before one is summed and the other cast
        grads = ((self.magnitude, self.magnitude.count * width),)
        return tape.run_op(part.count, width, (part,), (part.buffer,), parameters=grads, extra=extra)

    def _compute_norm(self, tape: Tape, width: int, base: AdaptedLinear) -> list[Buffer]:
        """Return what lives until the layer is done: the product, and the frozen weight as wide as inputs."""

        def matrix(count: float, of_width: int) -> Buffer:
            return Buffer(tape.meter, count * of_width, "norms of weights")

        setup, compute = self.setup, self.compute_width
        whole, square = float(self.shape.inputs * self.shape.outputs), float(self.shape.inputs**2)
        unit = matrix(square, setup.adapter)
        held = [matrix(square, compute) if compute != setup.adapter else unit]
        product = matrix(whole, compute)
        del unit
        held.append(matrix(whole, width) if width != compute else product)
        del product
        # A quantised weight is dequantised for the norm, in the width that products have
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
        sides = (1, shape.inputs) if self.inputs else (shape.outputs, 1)
        self.vector = self.add_parameter(float(max(sides)), sides)

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        if not self.inputs:
            result = base.run_base(tape, x)
            return tape.cast(self._scale_input(tape, result), result.width)
        return base.run_base(
            tape, tape.cast(self._scale_input(tape, tape.cast(x, self.setup.adapter)), x.width)
        )

    def _scale_input(self, tape: Tape, x: Tensor) -> Tensor:
        grads = ((self.vector, self.vector.count * self.setup.adapter),)
        product = x.count * self.setup.adapter  # before it is summed over the rows
        return tape.run_op(x.count, self.setup.adapter, (x,), (x.buffer,), parameters=grads, extra=product)
