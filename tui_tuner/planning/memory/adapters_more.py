"""More adapters, as PEFT's layers compute them (`peft/tuners/*/layer.py`, 0.21), and the table of all."""

from __future__ import annotations

from tui_tuner.methods.numbers.target_names import SECONDS
from tui_tuner.methods.numbers.terms import Form
from tui_tuner.methods.numbers.update_shapes import count_bases, list_kronecker, split_side
from tui_tuner.models.architectures.family import Linear
from tui_tuner.planning.memory.adapters import AdaptedLinear, Adapter, Dora, Ia3, Lora
from tui_tuner.planning.memory.meter import Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import simulate_addition, simulate_dropout
from tui_tuner.planning.memory.setup import Setup


class Vera(Adapter):
    """`result + lambda_b * B(lambda_d * A(x))`, where A and B are frozen and shared by all layers."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.inner = self.add_parameter(float(setup.rank), (setup.rank,))
        self.outer = self.add_parameter(float(shape.outputs), (shape.outputs,))

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.run_base(tape, x)
        rows, width = base.count_rows(x), self.compute_width
        wide = simulate_dropout(tape, tape.cast(x, self.setup.adapter), self.setup.dropout)
        wide = tape.cast(wide, width)
        # The vectors multiply in the adapter's dtype, outside of the products that autocast narrows
        low = self._multiply_vector(tape, tape.run_op(rows * self.setup.rank, width, (wide,)), self.inner)
        del wide
        high = tape.run_op(rows * self.shape.outputs, width, (tape.cast(low, width),))
        del low
        return tape.cast(
            simulate_addition(tape, result, self._multiply_vector(tape, high, self.outer)), result.width
        )

    def _multiply_vector(self, tape: Tape, x: Tensor, vector: Parameter) -> Tensor:
        adapter = self.setup.adapter
        grads = ((vector, vector.count * adapter),)
        return tape.run_op(x.count, adapter, (x,), (x.buffer,), parameters=grads, extra=x.count * adapter)


class Delta(Adapter):
    """`result + x @ delta.T`: the whole update matrix is made in each forward pass, and kept (LyCORIS)."""

    def make_update(self, tape: Tape) -> Tensor:
        """Compute the update matrix from the trained tensors."""
        raise NotImplementedError

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.run_base(tape, x)
        delta = tape.cast(self.make_update(tape), self.compute_width)
        wide = tape.cast(tape.cast(x, self.setup.adapter), self.compute_width)
        count = base.count_rows(x) * self.shape.outputs
        # The update is only kept where the input needs a gradient, which the first layer's does not
        saved = (wide.buffer, delta.buffer) if wide.node else (wide.buffer,)
        high = tape.run_op(count, self.compute_width, (wide, delta), saved)
        del wide, delta, saved
        return tape.cast(simulate_addition(tape, result, high), result.width)


class Loha(Delta):
    """LoHa: `(w1_a w1_b) * (w2_a w2_b) * scale` as one function that keeps the factors only."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        sides = ((shape.outputs, setup.rank), (setup.rank, shape.inputs)) * 2
        self.factors = [self.add_matrix(*pair) for pair in sides]

    def make_update(self, tape: Tape) -> Tensor:
        size = float(self.shape.inputs * self.shape.outputs)
        whole = size * self.setup.adapter
        products = Buffer(tape.meter, 2 * whole)
        grads = tuple((factor, factor.count * self.setup.adapter) for factor in self.factors)
        delta = tape.run_op(size, self.setup.adapter, (), parameters=grads, extra=3 * whole)
        del products
        return delta


class Lokr(Delta):
    """LoKr: the Kronecker product of a small matrix and a large one, each whole or the product of two."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        small, large = list_kronecker(
            shape.inputs, shape.outputs, setup.rank, setup.size or None, setup.decomposed
        )
        self.factors = [[self.add_parameter(float(size)) for size in sizes] for sizes in (small, large)]
        (up, wide), (left, long) = (
            split_side(side, setup.size or None) for side in (shape.outputs, shape.inputs)
        )
        self.products = [float(up * left), float(wide * long)]

    def make_update(self, tape: Tape) -> Tensor:
        size, adapter = float(self.shape.inputs * self.shape.outputs), self.setup.adapter
        inputs: list[Tensor] = []
        grads: list[tuple[Parameter, float]] = []
        for factors, count in zip(self.factors, self.products, strict=True):
            own = [(one, one.count * adapter) for one in factors]
            if len(own) > 1:
                inputs.append(tape.run_op(count, adapter, (), parameters=tuple(own)))
            else:
                grads += own
        saved = tuple(one.buffer for one in inputs)
        kron = tape.run_op(size, adapter, tuple(inputs), saved, parameters=tuple(grads), extra=size * adapter)
        del inputs, saved
        return tape.run_op(size, adapter, (kron,))  # * scale


class Boft(Adapter):
    """BOFT: `base(x @ rotation) * scale`.

    The rotation is a whole matrix, made in each forward pass, and kept with the identity and the permutation
    that it was made from. Layers of one width share their permutation, in the dtype of the weights.
    """

    BLOCK = 4  # `boft_block_size`
    SOLVED = 3.5  # tensors as large as the blocks that solving for the rotation keeps

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.blocks = self.add_parameter(float(shape.inputs * (setup.size or self.BLOCK)))
        self.scale = self.add_parameter(float(shape.outputs))

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        size, width, adapter = float(self.shape.inputs) ** 2, x.width, self.setup.adapter
        identity = Buffer(tape.meter, size * width)
        grads = ((self.blocks, self.blocks.count * adapter),)
        solved = Buffer(tape.meter, self.SOLVED * self.blocks.count * adapter)
        diagonal = tape.cast(tape.run_op(size, adapter, (), (solved,), parameters=grads), width)
        del solved
        # Two products with the permutation, before and after the factor, keep the same buffer
        permutation = Buffer(tape.meter, size * width if width != self.setup.weight else 0.0)
        rotation = tape.run_op(size, width, (diagonal,), (permutation,))
        rotation = tape.run_op(size, width, (rotation,), (permutation,))
        del diagonal, permutation
        rotation = tape.run_op(size, width, (rotation,), (identity,))
        del identity
        turned = tape.run_op(x.count, width, (x, rotation), (x.buffer, rotation.buffer))
        del rotation
        result = base.run_base(tape, turned)
        del turned
        scales = ((self.scale, self.scale.count * adapter),)
        extra = result.count * adapter
        factors = Buffer(tape.meter, self.scale.count * (adapter + width))
        scaled = tape.run_op(
            result.count, adapter, (result,), (result.buffer, factors), parameters=scales, extra=extra
        )
        return tape.cast(scaled, result.width)


class Oft(Adapter):
    """OFT: `base(x @ block-diagonal rotation)` in the adapter's dtype.

    The rotation is a Cayley-Neumann series, of which the first three powers are kept.
    """

    POWERS = 3

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.block = max(2, setup.rank)  # `oft_block_size`
        self.blocks = self.add_parameter(
            float(shape.inputs / self.block * (self.block * (self.block - 1) / 2))
        )

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        adapter = self.setup.adapter
        grads = ((self.blocks, self.blocks.count * adapter),)
        size = float(self.shape.inputs * self.block)
        # The series multiplies by the same matrix again and again, and each power is needed in its derivative
        powers = Buffer(tape.meter, self.POWERS * size * adapter)
        rotation = tape.run_op(size, adapter, (), (powers,), parameters=grads)
        del powers
        rotation = tape.cast(rotation, self.compute_width)
        wide = tape.cast(tape.cast(x, adapter), self.compute_width)
        folded = tape.run_op(wide.count, wide.width, (wide,))  # `einsum` brings the blocks to the front
        turned = tape.run_op(wide.count, wide.width, (folded, rotation), (folded.buffer, rotation.buffer))
        del wide, folded, rotation
        turned = tape.run_op(turned.count, adapter, (turned,))
        return base.run_base(tape, tape.cast(turned, x.width))


class Fourier(Delta):
    """FourierFT and WaveFT: a few trained coefficients of a whole update matrix, transformed."""

    COEFFICIENTS = 1000  # `n_frequency`
    COMPLEX = 2  # times the bytes of a real number

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.coefficients = float(setup.size or self.COEFFICIENTS)
        self.spectrum = self.add_parameter(self.coefficients)

    def make_update(self, tape: Tape) -> Tensor:
        size, adapter = float(self.shape.inputs * self.shape.outputs), self.setup.adapter
        whole = size * adapter
        dense = Buffer(tape.meter, (1 + self.COMPLEX) * whole)
        grads = ((self.spectrum, self.spectrum.count * adapter),)
        places = Buffer(tape.meter, 2 * 8 * self.coefficients)  # row and column of each, as int64
        delta = tape.run_op(size, adapter, (), (places,), parameters=grads, extra=2 * self.COMPLEX * whole)
        del dense, places
        return delta


class Miss(Adapter):
    """MiSS: the input is folded to `rank` values, which one trained matrix widens."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.block = self.add_parameter(float(setup.rank * shape.outputs))

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.run_base(tape, x)
        wide = simulate_dropout(tape, tape.cast(x, self.setup.adapter), self.setup.dropout)
        folded = tape.run_op(base.count_rows(x) * self.setup.rank, self.setup.adapter, (wide,))
        del wide
        folded = tape.cast(folded, self.compute_width)
        grads = ((self.block, self.block.count * self.compute_width),)
        high = tape.run_op(result.count, self.compute_width, (folded,), (folded.buffer,), parameters=grads)
        return tape.cast(simulate_addition(tape, result, high), result.width)


class RandomBases(Adapter):
    """RandLoRA: `result + second(first(dropout(x))) * scale`, whose narrower side is trained.

    Both are as wide as the bases together. The wider one is a part of the random matrices that all layers
    share, copied unless it is all of them; the narrower one is made of the trained numbers.
    """

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.narrow, self.wide = sorted((shape.inputs, shape.outputs))
        bases = count_bases(shape, setup.rank)
        self.inner = float(setup.rank * bases)
        self.mixture = [self.add_parameter(self.inner), self.add_parameter(float(bases * self.narrow))]

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.run_base(tape, x)
        adapter, compute, rows = self.setup.adapter, self.compute_width, base.count_rows(x)
        frozen = Buffer(tape.meter, self.inner * self.wide * adapter if self._is_part() else 0.0)
        grads = tuple((one, one.count * adapter) for one in self.mixture)
        size = self.inner * self.narrow
        made = tape.cast(tape.run_op(size, adapter, (), parameters=grads, extra=size * adapter), compute)
        if compute != adapter:
            frozen = Buffer(tape.meter, self.inner * self.wide * compute)
        x = tape.cast(simulate_dropout(tape, tape.cast(x, adapter), self.setup.dropout), compute)
        if self.shape.inputs == self.narrow:
            kept = (x.buffer, made.buffer) if x.node else (x.buffer,)
            low = tape.run_op(rows * self.inner, compute, (x, made), kept)
            high = tape.run_op(rows * self.shape.outputs, compute, (low,), (frozen,))
        else:
            low = tape.run_op(rows * self.inner, compute, (x,), (frozen,))
            saved = (low.buffer, made.buffer) if low.node else (low.buffer,)
            high = tape.run_op(rows * self.shape.outputs, compute, (low, made), saved)
        del x, low, made, frozen
        high = tape.run_op(high.count, compute, (high,))  # * scale
        return tape.cast(simulate_addition(tape, result, high), result.width)

    def _is_part(self) -> bool:
        """Return whether fewer bases are taken than there are, which copies them."""
        return count_bases(self.shape, self.setup.rank) < -(-min(find_widest(self.setup)) // self.setup.rank)


def find_widest(setup: Setup) -> tuple[int, int]:
    """Return the most inputs and the most outputs of the matrices that have an adapter."""
    adapted = [one for one in setup.facts.layer_linears if setup.stack.adapts_linear(one, setup.targets)]
    return max((one.inputs for one in adapted), default=0), max((one.outputs for one in adapted), default=0)


class Singular(Lora):
    """AdaLoRA: `result += (dropout(x) @ (A * E).T @ B.T) * scale / rank` (`peft/tuners/adalora/layer.py`)."""

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        self.factors = self.add_parameter(float(self.rank), (self.rank, 1))

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.run_base(tape, x)
        setup, compute, rows = self.setup, self.compute_width, base.count_rows(x)
        if not (setup.autocast and base.quantised):
            x = tape.cast(x, setup.adapter)
        x_in = tape.cast(simulate_dropout(tape, x, setup.dropout), compute)
        size = self.down.count * setup.adapter
        grads = ((self.down, size), (self.factors, self.factors.count * setup.adapter))
        between = tape.cast(
            tape.run_op(self.down.count, setup.adapter, (), parameters=grads, extra=size), compute
        )
        low = tape.run_op(rows * self.rank, compute, (x_in, between), (x_in.buffer, between.buffer))
        del x, x_in, between
        high = self._widen(tape, low, rows * self.shape.outputs)
        high = tape.run_op(high.count, high.width, (high,))
        # The rank is a tensor of 32 bits, and so is what is divided by it
        high = tape.run_op(high.count, setup.adapter, (high,), extra=high.count * setup.adapter)
        alike = high.width == result.width
        return tape.run_op(
            result.count,
            result.width,
            () if alike else (high,),
            same=(result, high) if alike else (result,),
            view=result.buffer,
        )

    def _widen(self, tape: Tape, low: Tensor, count: float) -> Tensor:
        compute = low.width
        saved = [low.buffer]
        if self.up.width != compute:
            copy = Buffer(tape.meter, self.up.count * compute, "16-bit copies of weights")
            tape.meter.cache.append(copy)
            saved.append(copy)
        return tape.run_op(
            count, compute, (low,), tuple(saved), parameters=((self.up, self.up.count * compute),)
        )


class FusedExperts(Adapter):
    """LoRA on the fused weights of experts: `x @ (W + B A * scale)` (PEFT's `ParamWrapper`).

    The weights with the update in them are made in each forward pass, as large as all experts together, and
    kept; their gradient is as large.
    """

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        # Both halves of a fused weight read one matrix A, which is counted with the first
        sides = (shape.outputs,) if shape.name in SECONDS else (shape.inputs, shape.outputs)
        self.factors = [self.add_parameter(float(setup.rank * side * shape.copies)) for side in sides]

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        width, rows = self.setup.weight, base.count_rows(x)
        copies: tuple[Buffer, ...] = ()
        if self.setup.adapter != width:
            copies = (Buffer(tape.meter, sum(one.count for one in self.factors) * width),)
        grads = tuple((factor, factor.count * width) for factor in self.factors)
        whole = tape.run_op(float(self.shape.weights), width, (), copies, parameters=grads)
        inner = tape.cast(x, width)
        # The weights are only kept where the input needs a gradient
        saved = (inner.buffer, whole.buffer) if inner.node else (inner.buffer,)
        return tape.run_op(rows * self.shape.outputs, width, (inner, whole), saved)


class GeneralAdapter(Adapter):
    """An adapter of which only the number of trained elements is known.

    It is taken for one that reads the layer's input, keeps it, and adds as much as the layer gives.
    """

    def __init__(self, setup: Setup, shape: Linear) -> None:
        super().__init__(setup, shape)
        # A name alone is ambiguous: dense layers of a mixture use the names of its experts
        place = (shape.name, shape.inputs, shape.outputs)
        count = next((count for *of, count in setup.counts if tuple(of) == place), 0)
        self.own = self.add_parameter(float(count) * shape.copies)

    def __call__(self, tape: Tape, x: Tensor, base: AdaptedLinear) -> Tensor:
        result = base.run_base(tape, x)
        wide = tape.cast(
            simulate_dropout(tape, tape.cast(x, self.setup.adapter), self.setup.dropout), self.compute_width
        )
        grads = ((self.own, self.own.count * self.compute_width),)
        added = tape.run_op(result.count, self.compute_width, (wide,), (wide.buffer,), parameters=grads)
        del wide
        return tape.cast(simulate_addition(tape, result, added), result.width)


FORMS: dict[Form, type[Adapter]] = {
    Form.GENERAL: GeneralAdapter,
    Form.LOW_RANK: Lora,
    Form.MAGNITUDES: Dora,
    Form.SINGULAR: Singular,
    Form.FACTORS: Ia3,
    Form.SHARED: Vera,
    Form.HADAMARD: Loha,
    Form.KRONECKER: Lokr,
    Form.BUTTERFLY: Boft,
    Form.ROTATION: Oft,
    Form.SPECTRUM: Fourier,
    Form.RANDOM_BASES: RandomBases,
    Form.FOLDED: Miss,
}


def make_simulated_adapter(setup: Setup, shape: Linear) -> Adapter:
    """Make the adapter of `setup.form` for a matrix of this shape."""
    if shape.group == "expert" and setup.stack.fused_experts and setup.form is Form.LOW_RANK:
        return FusedExperts(setup, shape)
    return FORMS[setup.form](setup, shape)
