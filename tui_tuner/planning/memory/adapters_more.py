"""More adapters, as PEFT's layers compute them (`peft/tuners/*/layer.py`, 0.21), and the table of all."""

from __future__ import annotations

from tui_tuner.models.architectures.family import Linear
from tui_tuner.planning.memory.adapters import AdaptedLinear, Adapter, Dora, Ia3, Lora
from tui_tuner.planning.memory.meter import Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import add, dropout
from tui_tuner.planning.memory.setup import Setup


class Vera(Adapter):
    """`result + lambda_b * B(lambda_d * A(x))`, where A and B are frozen and shared by all layers."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.inner = self.trained(float(setup.rank))
        self.outer = self.trained(float(shape.outputs))

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
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

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
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

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
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

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
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


class Fourier(Delta):
    """FourierFT and WaveFT: a few trained coefficients of a whole update matrix, transformed."""

    COEFFICIENTS = 1000.0  # `n_frequency`
    COMPLEX = 2  # times the bytes of a real number

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.spectrum = self.trained(self.COEFFICIENTS)

    def update(self, tape: Tape) -> Tensor:
        size, adapter = float(self.shape.inputs * self.shape.outputs), self.setup.adapter
        whole = size * adapter
        dense = Buffer(tape.meter, (1 + self.COMPLEX) * whole)
        grads = ((self.spectrum, self.spectrum.count * adapter),)
        places = Buffer(tape.meter, 2 * 8 * self.COEFFICIENTS)  # row and column of each, as int64
        delta = tape.op(size, adapter, (), (places,), parameters=grads, extra=2 * self.COMPLEX * whole)
        del dense, places
        return delta


class Miss(Adapter):
    """MiSS: the input is folded to `rank` values, which one trained matrix widens."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.block = self.trained(float(setup.rank * shape.outputs))

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.base(tape, x)
        wide = dropout(tape, tape.cast(x, self.setup.adapter), self.setup.dropout)
        folded = tape.op(base.rows(x) * self.setup.rank, self.setup.adapter, (wide,))
        del wide
        folded = tape.cast(folded, self.compute)
        grads = ((self.block, self.block.count * self.compute),)
        high = tape.op(result.count, self.compute, (folded,), (folded.buffer,), parameters=grads)
        return tape.cast(add(tape, result, high), result.width)


KINDS: dict[str, type[Adapter]] = {
    "dora": Dora,
    "ia3": Ia3,
    "vera": Vera,
    "loha": Loha,
    "lokr": Lokr,
    "boft": Boft,
    "oft": Oft,
    "fourierft": Fourier,
    "waveft": Fourier,
    "miss": Miss,
}


def adapter_for(setup: Setup, shape: Linear) -> Adapter:
    """The adapter of `setup.variant` for a matrix of this shape; LoRA where it is not named."""
    return KINDS.get(setup.variant, Lora)(setup, shape)
