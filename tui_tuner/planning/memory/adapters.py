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

    @property
    def compute(self) -> int:
        """Width in which matrix products are computed."""
        return self.setup.compute if self.setup.autocast else self.setup.adapter

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

    def __call__(self, tape: Tape, x: Tensor, base: Matrix) -> Tensor:
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

    def _norm(self, tape: Tape, width: int, base: Matrix) -> list[Buffer]:
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

    def __call__(self, tape: Tape, x: Tensor, base: Matrix) -> Tensor:
        if not self.inputs:
            result = base.base(tape, x)
            return tape.cast(self._scale(tape, result), result.width)
        return base.base(tape, tape.cast(self._scale(tape, tape.cast(x, self.setup.adapter)), x.width))

    def _scale(self, tape: Tape, x: Tensor) -> Tensor:
        grads = ((self.vector, self.vector.count * self.setup.adapter),)
        product = x.count * self.setup.adapter  # before it is summed over the rows
        return tape.op(x.count, self.setup.adapter, (x,), (x.buffer,), parameters=grads, extra=product)


class Vera(Adapter):
    """`result + lambda_b * B(lambda_d * A(x))`, where A and B are frozen and shared by all layers."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.inner = self.trained(float(setup.rank))
        self.outer = self.trained(float(shape.outputs))

    def __call__(self, tape: Tape, x: Tensor, base: Matrix) -> Tensor:
        result = base.base(tape, x)
        rows, width = base.rows(x), self.compute
        wide = dropout(tape, tape.cast(x, self.setup.adapter), self.setup.dropout)
        wide = tape.cast(wide, width)
        low = self._times(tape, tape.op(rows * self.setup.rank, width, (wide,)), self.inner)
        del wide
        high = tape.op(rows * self.shape.outputs, width, (tape.cast(low, width),))
        del low
        return tape.cast(add(tape, result, self._times(tape, high, self.outer)), result.width)

    def _times(self, tape: Tape, x: Tensor, vector: Parameter) -> Tensor:
        adapter = self.setup.adapter
        grads = ((vector, vector.count * adapter),)
        return tape.op(x.count, adapter, (x,), (x.buffer,), parameters=grads, extra=x.count * adapter)


class Delta(Adapter):
    """`result + x @ delta.T`: the whole update matrix is made in each forward pass, and kept (LyCORIS)."""

    def update(self, tape: Tape) -> Tensor:
        """The update, made from what is trained."""
        raise NotImplementedError

    def __call__(self, tape: Tape, x: Tensor, base: Matrix) -> Tensor:
        result = base.base(tape, x)
        delta = tape.cast(self.update(tape), self.compute)
        wide = tape.cast(tape.cast(x, self.setup.adapter), self.compute)
        count = base.rows(x) * self.shape.outputs
        saved = (wide.buffer, delta.buffer) if wide.node else (wide.buffer,)
        high = tape.op(count, self.compute, (wide, delta), saved)
        del wide, delta, saved
        return tape.cast(add(tape, result, high), result.width)


class Loha(Delta):
    """LoHa: `(w1_a w1_b) * (w2_a w2_b) * scale` as one function that keeps the factors only."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        sides = (shape.outputs, shape.inputs) * 2
        self.factors = [self.trained(float(setup.rank * side)) for side in sides]

    def update(self, tape: Tape) -> Tensor:
        size = float(self.shape.inputs * self.shape.outputs)
        whole = size * self.setup.adapter
        products = Buffer(tape.meter, 2 * whole)
        grads = tuple((factor, factor.count * self.setup.adapter) for factor in self.factors)
        delta = tape.op(size, self.setup.adapter, (), parameters=grads, extra=3 * whole)
        del products
        return delta


class Lokr(Delta):
    """LoKr: the Kronecker product of a small matrix and a low-rank one."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        left, right = factor(shape.outputs), factor(shape.inputs)
        self.small = self.trained(float(left * right))
        self.low = [self.trained(float(setup.rank * side // part))
                    for side, part in ((shape.outputs, left), (shape.inputs, right))]  # fmt: skip

    def update(self, tape: Tape) -> Tensor:
        size, adapter = float(self.shape.inputs * self.shape.outputs), self.setup.adapter
        grads = tuple((one, one.count * adapter) for one in (self.small, *self.low))
        kron = tape.op(size, adapter, (), parameters=grads, extra=size * adapter)
        return tape.op(size, adapter, (kron,))  # * scale


def factor(size: int) -> int:
    """The largest divisor of a size that is not above its square root (LoKr's default split)."""
    return next(part for part in range(int(size**0.5), 0, -1) if size % part == 0)


class Boft(Adapter):
    """BOFT: `base(x @ rotation) * scale`.

    The rotation is a whole matrix, made in each forward pass, and kept with the identity and the permutation
    that it was made from (`boft_P` lies in host memory).
    """

    BLOCK = 4  # `boft_block_size`

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.blocks = self.trained(float(shape.inputs * self.BLOCK))
        self.scale = self.trained(float(shape.outputs))

    def __call__(self, tape: Tape, x: Tensor, base: Matrix) -> Tensor:
        size, width, adapter = float(self.shape.inputs) ** 2, x.width, self.setup.adapter
        identity = Buffer(tape.meter, size * width)
        grads = ((self.blocks, self.blocks.count * adapter),)
        diagonal = tape.cast(tape.op(size, adapter, (), parameters=grads), width)
        permutation = Buffer(tape.meter, size * width)
        rotation = tape.op(size, width, (diagonal,), (permutation,))
        rotation = tape.op(size, width, (rotation,), (permutation,))
        del diagonal, permutation
        rotation = tape.op(size, width, (rotation,), (identity,))
        del identity
        turned = tape.op(x.count, width, (x, rotation), (x.buffer, rotation.buffer))
        del rotation
        result = base.base(tape, turned)
        del turned
        scales = ((self.scale, self.scale.count * adapter),)
        extra = result.count * adapter
        scaled = tape.op(result.count, adapter, (result,), (result.buffer,), parameters=scales, extra=extra)
        return tape.cast(scaled, result.width)


class Oft(Adapter):
    """OFT: `base(x @ block-diagonal rotation)` in the adapter's dtype.

    The rotation is a Cayley-Neumann series, of which the first three powers are kept.
    """

    POWERS = 3

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.block = max(2, setup.rank)  # `oft_block_size`
        self.blocks = self.trained(float(shape.inputs / self.block * (self.block * (self.block - 1) / 2)))

    def __call__(self, tape: Tape, x: Tensor, base: Matrix) -> Tensor:
        adapter = self.setup.adapter
        grads = ((self.blocks, self.blocks.count * adapter),)
        size = float(self.shape.inputs * self.block)
        powers = Buffer(tape.meter, self.POWERS * size * adapter)
        rotation = tape.op(size, adapter, (), (powers,), parameters=grads)
        del powers
        rotation = tape.cast(rotation, self.compute)
        wide = tape.cast(tape.cast(x, adapter), self.compute)
        folded = tape.op(wide.count, wide.width, (wide,))  # `einsum` brings the blocks to the front
        turned = tape.op(wide.count, wide.width, (folded, rotation), (folded.buffer, rotation.buffer))
        del wide, folded, rotation
        turned = tape.op(turned.count, adapter, (turned,))
        return base.base(tape, tape.cast(turned, x.width))


KINDS: dict[str, type[Adapter]] = {
    "dora": Dora,
    "ia3": Ia3,
    "vera": Vera,
    "loha": Loha,
    "lokr": Lokr,
    "boft": Boft,
    "oft": Oft,
}


def adapter_for(setup: Setup, shape: Linear) -> Adapter:
    """The adapter of `setup.variant` for a matrix of this shape; LoRA where it is not named."""
    return KINDS.get(setup.variant, Lora)(setup, shape)
