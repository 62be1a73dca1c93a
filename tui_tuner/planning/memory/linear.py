"""A linear layer: frozen or trained, in 16 or 32 bits or quantised, with or without an adapter."""

from __future__ import annotations

from tui_tuner.models.architectures.family import Linear
from tui_tuner.planning.memory.adapters import Adapter, Lora
from tui_tuner.planning.memory.adapters_more import make_simulated_adapter
from tui_tuner.planning.memory.meter import SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup


class Matrix:
    """A linear layer as `torch.nn.Linear` or bitsandbytes computes it. Counts are elements.

    Args:
        trained: Something in its layer has a gradient, so it may get an adapter.
        full: Its own weight is trained.
    """

    def __init__(self, setup: Setup, shape: Linear, *, trained: bool, full: bool) -> None:
        self.shape, self.setup = shape, setup
        self.count = float(shape.inputs * shape.outputs) * shape.copies
        self.quantised = setup.quantization != "none" and setup.stack.quantises_linear(shape)
        self.width = setup.weight
        self.trained = trained
        # Fused experts are one 3-D parameter, multiplied by a grouped product
        self.grouped = shape.group == "expert" and setup.stack.fused_experts
        sides = (shape.outputs, shape.inputs)
        whole = (shape.copies, *sides) if self.grouped else sides if shape.copies == 1 else ()
        self.weight = Parameter(self.count, self.width, shape=whole) if full else None
        bias = shape.outputs * shape.copies
        self.bias = Parameter(float(bias), self.width, shape=(bias,)) if full and shape.bias else None
        adapted = trained and bool(setup.rank) and setup.stack.adapts_linear(shape, setup.targets)
        self.adapter: Adapter | None = make_simulated_adapter(setup, shape) if adapted else None
        self.parameters: list[Parameter] = [own for own in (self.weight, self.bias) if own is not None]
        if self.adapter is not None:
            self.parameters += self.adapter.parameters

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        return self.adapter(tape, x, self) if self.adapter is not None else self.run_base(tape, x)

    @property
    def is_joint(self) -> bool:
        """Return whether it and its adapter share a step of autograd with others that read the same input."""
        fits = self.setup.autocast or self.width == self.setup.adapter == self.setup.compute
        return self.setup.quick and fits and type(self.adapter) is Lora

    @property
    def lora_adapter(self) -> Lora:
        """Return the layer's adapter if it is LoRA, else None."""
        assert isinstance(self.adapter, Lora)
        return self.adapter

    def count_rows(self, x: Tensor) -> float:
        """Return how many vectors go through this layer."""
        return x.count / self.shape.inputs

    def run_base(self, tape: Tape, x: Tensor) -> Tensor:
        """Simulate the layer without its adapter."""
        return self._run_quantised(tape, x) if self.quantised else self._run_plain(tape, x)

    def _run_plain(self, tape: Tape, x: Tensor) -> Tensor:
        setup = self.setup
        width = setup.compute if setup.autocast else max(self.width, x.width)
        width = self.width if self.grouped else width  # grouped products are none that autocast knows
        inner = tape.cast(x, width)
        saved: list[Buffer] = []
        parameters: tuple[tuple[Parameter, float], ...] = ()
        if self.weight is not None:
            saved.append(inner.buffer)
            parameters = ((self.weight, self.count * width),)
        if self.bias is not None:
            parameters = (*parameters, (self.bias, self.bias.count * width))
        if self.width != width:  # autocast's copy of the weights, kept for the input's gradient
            copy = Buffer(tape.meter, self.count * width, "16-bit copies of weights")
            saved.append(copy)
            if self.weight is not None:
                tape.meter.cache.append(copy)
        out_count = self.count_rows(x) * self.shape.outputs
        return tape.run_op(out_count, width, (inner,), tuple(saved), parameters=parameters)

    def _run_quantised(self, tape: Tape, x: Tensor) -> Tensor:
        """Simulate bitsandbytes: Linear4bit computes in `compute` and returns the width of its input;
        Linear8bitLt keeps its input, and multiplies int8 into int32."""
        setup = self.setup
        width = setup.compute
        whole = self.count / self.shape.copies * width  # one matrix, dequantised
        out_count = self.count_rows(x) * self.shape.outputs
        if setup.quantization == "int8":
            temporary = Buffer(tape.meter, x.count + SINGLE * out_count, "int8 products")
            saved = self._kept_input(tape, x)
            out = tape.run_op(out_count, x.width, (x,), saved, extra=whole)
            del temporary
            return out
        inner = tape.cast(x, width)
        old = setup.stack.keeps_4bit_input
        # Old versions dequantise into float16 and cast afterwards, so both copies exist at once
        whole *= 2 if old else 1
        temporary = Buffer(tape.meter, whole, "dequantised weights")
        out = tape.run_op(out_count, width, (inner,), (inner.buffer,) if old else (), extra=whole)
        del temporary
        return tape.cast(out, x.width)

    def _kept_input(self, tape: Tape, x: Tensor) -> tuple[Buffer, ...]:
        """Return what autograd saves of a Linear8bitLt's input. The layer keeps it as an attribute, so with
        this program's non-reentrant checkpointing it stays until the whole backward pass is over."""
        # Reentrant checkpointing, the Trainer's default, frees it
        if self.setup.stack.foreign:
            return (x.buffer,)
        kept = x.node is not None if tape.recording else self.trained
        if kept and not tape.again:
            tape.meter.held.append(x.buffer)
        return ()
