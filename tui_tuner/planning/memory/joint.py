"""LoRA layers that read the same input as one step of autograd (`compute.low_rank.joint`, on GPUs).

Kept for the way back are the input (or with dropout each layer's own), the product of the low rank, and
nothing in float32. On the way back the gradients of all outputs are there until the whole step is through.
"""

from __future__ import annotations

from collections.abc import Sequence

from tui_tuner.planning.memory.linear import Matrix
from tui_tuner.planning.memory.meter import SINGLE, Buffer, Node, Tape, Tensor
from tui_tuner.planning.memory.ops import simulate_dropout


class Port(Node):
    """One output of a step with several: it gathers a gradient, and its step then has something to do."""

    __slots__ = ("step",)

    def __init__(self, size: float, step: Node) -> None:
        super().__init__(size, [], None, 0.0)
        self.step = step

    def receive(self, gradient: Buffer) -> None:
        super().receive(gradient)
        # The step itself gets an empty gradient, which makes the tape run it once any output has one
        if self.step.grad is None:
            self.step.grad = Buffer(gradient.meter, 0.0)


def simulate_joint_layers(tape: Tape, x: Tensor, matrices: Sequence[Matrix]) -> list[Tensor]:
    """Compute several layers for the same input as one step; return the result of each."""
    setup, meter = matrices[0].setup, tape.meter
    width = setup.compute if setup.autocast else x.width
    x = tape.cast(x, width)
    rows = matrices[0].count_rows(x)
    inputs = [simulate_dropout(tape, x, setup.dropout) for _unused in matrices] if setup.dropout else [x]
    low = Buffer(meter, rows * sum(one.lora_adapter.rank for one in matrices) * width)
    found = [
        Tensor(_run_product(tape, x, one, width), rows * one.shape.outputs, width, None) for one in matrices
    ]
    if not tape.recording:
        return found
    edges = [(one.node, 0.0) for one in ((x, *inputs) if setup.dropout else inputs) if one.node]
    step = Node(0.0, edges, (low, *(one.buffer for one in inputs)), 0.0)
    ports = [Port(one.count * width, step) for one in found]
    sizes = [one.count * width for one in ((x, *inputs) if setup.dropout else inputs) if one.node]
    # A number, as a reference to the buffer would keep it alive beyond the step
    low_size = low.size

    def back(_unused: Buffer) -> list[Buffer]:
        backs = Buffer(meter, low_size)
        above = [port.grad for port in ports]
        results: list[Buffer] = []
        to_ups: list[Buffer] = []
        for one in matrices:
            to_ups.append(Buffer(meter, one.lora_adapter.up.count * one.lora_adapter.up.width))
            if sizes:
                numbers = Buffer(meter, _count_copied(one, width), "dequantised weights")
                # One input gradient for all matrices: each adds to it in place
                results = results or [Buffer(meter, sizes[0], "activation gradients")]
                del numbers
        results += [Buffer(meter, size, "activation gradients") for size in sizes[1:]]
        to_downs = [
            Buffer(meter, one.lora_adapter.down.count * one.lora_adapter.down.width) for one in matrices
        ]
        # Freed before adapters receive theirs, as locals of autograd's function are
        del backs, above
        for port in ports:
            port.grad = None
        for one, up, down in zip(matrices, to_ups, to_downs, strict=True):
            one.lora_adapter.up.receive(up)
            one.lora_adapter.down.receive(down)
        return results

    step.redo = back
    tape.nodes.append(step)
    for one, port in zip(found, ports, strict=True):
        one.node = port
    return found


def _run_product(tape: Tape, x: Tensor, matrix: Matrix, width: int) -> Buffer:
    """Simulate the product with a frozen weight; temporaries made from the weight are freed at once."""
    meter, count = tape.meter, matrix.count_rows(x) * matrix.shape.outputs
    if matrix.quantised and matrix.setup.quantization == "int8":
        temporary = Buffer(meter, x.count + SINGLE * count, "int8 products")
    else:
        temporary = Buffer(meter, _count_copied(matrix, width), "dequantised weights")
    out = Buffer(meter, count * width)
    del temporary
    return out


def _count_copied(matrix: Matrix, width: int) -> float:
    """Return the bytes of the copy of a weight that a product needs; 0 if it is used as it is."""
    own = not matrix.quantised and matrix.width == width
    return 0.0 if own else matrix.count / matrix.shape.copies * width
