"""A linear layer: frozen or trained, in 16 or 32 bits or quantised, with or without an adapter."""

from __future__ import annotations

from tui_tuner.models.architectures.family import Linear
from tui_tuner.planning.memory.adapters import Adapter, Lora
from tui_tuner.planning.memory.adapters_more import adapter_for
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
        self.quantised = setup.quantization != "none" and setup.stack.quantises(shape)
        self.width = setup.weight
        self.trained = trained
        self.grouped = shape.group == "expert" and setup.stack.fused_experts
        self.weight = Parameter(self.count, self.width) if full else None
        self.bias = (
            Parameter(float(shape.outputs * shape.copies), self.width) if full and shape.bias else None
        )
        adapted = trained and bool(setup.rank) and setup.stack.adapts(shape, setup.targets)
        self.adapter: Adapter | None = adapter_for(setup, shape) if adapted else None
        self.parameters: list[Parameter] = [own for own in (self.weight, self.bias) if own is not None]
        if self.adapter is not None:
            self.parameters += self.adapter.parameters

    def __call__(self, tape: Tape, x: Tensor) -> Tensor:
        return self.adapter(tape, x, self) if self.adapter is not None else self.base(tape, x)

    @property
    def joint(self) -> bool:
        """Whether it and its adapter are one step of autograd, with others that read the same input."""
        fits = self.setup.autocast or self.width == self.setup.adapter == self.setup.compute
        return self.setup.quick and fits and type(self.adapter) is Lora

    @property
    def lora(self) -> Lora:
        """Its adapter, where that is LoRA."""
        assert isinstance(self.adapter, Lora)
        return self.adapter

    def rows(self, x: Tensor) -> float:
        """Vectors that go through this layer."""
        return x.count / self.shape.inputs

    def base(self, tape: Tape, x: Tensor) -> Tensor:
        """The layer without its adapter."""
        return self._quantised(tape, x) if self.quantised else self._plain(tape, x)

    def _plain(self, tape: Tape, x: Tensor) -> Tensor:
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
        out_count = self.rows(x) * self.shape.outputs
        return tape.op(out_count, width, (inner,), tuple(saved), parameters=parameters)

    def _quantised(self, tape: Tape, x: Tensor) -> Tensor:
        """bitsandbytes: Linear4bit computes in `compute` and returns what came in; Linear8bitLt keeps its
        input, and multiplies int8 into int32."""
        setup = self.setup
        width = setup.compute
        whole = self.count / self.shape.copies * width  # one matrix, dequantised
        out_count = self.rows(x) * self.shape.outputs
        if setup.quantization == "int8":
            temporary = Buffer(tape.meter, x.count + SINGLE * out_count, "int8 products")
            saved = self._kept_input(tape, x)
            out = tape.op(out_count, x.width, (x,), saved, extra=whole)
            del temporary
            return out
        inner = tape.cast(x, width)
        old = setup.stack.keeps_4bit_input
        whole *= 2 if old else 1
        temporary = Buffer(tape.meter, whole, "dequantised weights")
        out = tape.op(out_count, width, (inner,), (inner.buffer,) if old else (), extra=whole)
        del temporary
        return tape.cast(out, x.width)

    def _kept_input(self, tape: Tape, x: Tensor) -> tuple[Buffer, ...]:
        """Linear8bitLt keeps its input as an attribute, not as autograd's: it stays until the whole backward
        pass is through, and non-reentrant checkpointing, which this program uses, does not spare it."""
        if self.setup.stack.foreign:
            return (x.buffer,)
        kept = x.node is not None if tape.recording else self.trained
        if kept and not tape.again:
            tape.meter.held.append(x.buffer)
        return ()
