"""A model of PyTorch's memory without PyTorch: buffers, an autograd tape, and the peak of each phase.

The forward passes in `layers` are written against this tape the way transformers' modelling code is written
against torch: local variables hold buffers as long as theirs hold tensors, each operation keeps what its
derivative needs, and the backward pass frees and allocates in autograd's order. The peak is then read off,
not guessed, and what lives at the peak is its breakdown.

Buffers count themselves in and out; lifetimes are Python's reference counts, as they are in torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

HALF, SINGLE = 2, 4  # bytes of an element


class Meter:
    """Bytes alive, by kind, and the highest mark of each phase with its breakdown."""

    __slots__ = ("accumulating", "cache", "held", "kind", "kinds", "live", "peaks", "phase", "top")

    def __init__(self) -> None:
        self.accumulating = False  # gradients of an earlier micro-batch are there
        self.live = 0.0
        self.kinds: dict[str, float] = {}
        self.kind = "activations"
        self.phase = ""
        self.top = 0.0
        self.peaks: dict[str, dict[str, float]] = {}
        self.cache: list[Buffer] = []  # autocast's copies of trained weights, until the context ends
        self.held: list[object] = []  # parameters and leaves, which keep their gradients

    def enter_phase(self, phase: str) -> None:
        """Start a phase; what lives now counts towards its peak."""
        self.phase = phase
        self.top = sum(self.peaks.get(phase, {}).values())
        self._mark_peak()

    def add_bytes(self, kind: str, size: float) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0.0) + size
        self.live += size
        self._mark_peak()

    def _mark_peak(self) -> None:
        # The breakdown is copied only at a new peak, which keeps simulations fast
        if self.live > self.top and self.phase:
            self.top = self.live
            self.peaks[self.phase] = dict(self.kinds)


class Buffer:
    """Bytes on the device, from creation until nothing refers to them."""

    __slots__ = ("kind", "meter", "size")

    def __init__(self, meter: Meter, size: float, kind: str = "") -> None:
        self.meter = meter
        self.size = size
        self.kind = kind or meter.kind
        meter.add_bytes(self.kind, size)

    def relabel(self, kind: str) -> None:
        """Count these bytes under another name."""
        self.meter.kinds[self.kind] -= self.size
        self.meter.kinds[kind] = self.meter.kinds.get(kind, 0.0) + self.size
        self.kind = kind

    def __del__(self) -> None:
        self.meter.kinds[self.kind] -= self.size
        self.meter.live -= self.size


class Parameter:
    """A trained weight. Its gradient stays after the backward pass or, with `uses`, goes after so many
    gradients have arrived (the optimizer steps as soon as a gradient is complete).

    `shape` is empty where only the number of elements is known.
    """

    __slots__ = ("count", "grad", "shape", "tied", "uses", "width")

    def __init__(self, count: float, width: int, uses: int = 0, shape: tuple[int, ...] = ()) -> None:
        self.count, self.width, self.uses, self.shape = count, width, uses, shape
        self.tied = False  # used twice: the first gradient waits for the second
        self.grad: Buffer | None = None

    def receive(self, gradient: Buffer) -> None:
        """Keep a gradient, or add it to the one that is there."""
        self._accumulate_gradient(gradient)
        if self.uses:
            self.uses -= 1
            if not self.uses:
                self.grad = None

    def _accumulate_gradient(self, gradient: Buffer) -> None:
        needed = self.count * self.width
        if (
            gradient.meter.accumulating and not self.tied
        ):  # it is added to one that counts as static, in the weight's own dtype
            cast = Buffer(gradient.meter, needed, gradient.kind) if gradient.size != needed else None
            del cast
        elif self.grad is None:
            # A gradient of the weight's own dtype becomes `.grad` itself; another is cast into a new tensor
            if gradient.size == needed:
                gradient.relabel("gradients")
                self.grad = gradient
            else:
                self.grad = Buffer(gradient.meter, needed, "gradients")


class Node:
    """One step of the backward pass: what it keeps, and what it gives to whom."""

    __slots__ = ("edges", "extra", "grad", "redo", "saved", "size")

    def __init__(self, size: float, edges: list[tuple[Any, float]], saved: Any, extra: float) -> None:
        self.size = size
        self.edges = edges
        self.saved = saved
        self.extra = extra
        self.grad: Buffer | None = None
        self.redo: Callable[[Buffer], list[Buffer]] | None = None

    def receive(self, gradient: Buffer) -> None:
        """Add a gradient, in place if nothing else holds the one already here."""
        if self.grad is None:
            self.grad = gradient
        # autograd adds in place only if it alone holds the gradient: one reference here, one of getrefcount's
        # argument
        elif sys.getrefcount(self.grad) > 2:
            self.grad = Buffer(gradient.meter, self.size, gradient.kind)


class Tensor:
    """A buffer seen as `count` elements of `width` bytes, and the node that made it (None: no gradient)."""

    __slots__ = ("buffer", "count", "node", "width")

    def __init__(self, buffer: Buffer, count: float, width: int, node: Node | None) -> None:
        self.buffer, self.count, self.width, self.node = buffer, count, width, node


HEAD = "logits and loss"
SAME = -1.0  # an edge that passes the incoming gradient on instead of making a new one


class Tape:
    """Operations, in the order they ran."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.nodes: list[Node] = []
        self.recording = True
        self.again = False  # a checkpointed layer is computed a second time
        self.marks: dict[int, str] = {}  # phases that begin once so many nodes are left
        self.held: tuple[Buffer, ...] = ()  # what the training loop holds on to

    def make_source(self, count: float, width: int, grad: bool = False) -> Tensor:
        """Make a tensor that comes from outside; with `grad`, gradients flow into it."""
        tensor = Tensor(Buffer(self.meter, count * width), count, width, None)
        if grad:  # a leaf: autograd holds it, and later its gradient
            tensor.node = Node(count * width, [], None, 0.0)
            self.meter.held += [tensor.buffer, tensor.node]
        return tensor

    def run_op(
        self,
        count: float,
        width: int,
        inputs: tuple[Tensor, ...],
        saved: tuple[Buffer, ...] = (),
        *,
        same: tuple[Tensor, ...] = (),
        parameters: tuple[tuple[Parameter, float], ...] = (),
        extra: float = 0.0,
        view: Buffer | None = None,
    ) -> Tensor:
        """Run an operation.

        Args:
            count: Elements of the result.
            width: Bytes of each.
            inputs: Tensors that get a new gradient buffer of their own size.
            saved: Buffers kept for the backward pass.
            same: Inputs whose gradient is the incoming one itself.
            parameters: Trained weights, and the bytes of the gradient that arrives at each.
            extra: Bytes the backward pass needs while it runs.
            view: The result is a view of this buffer.
        """
        buffer = view if view is not None else Buffer(self.meter, count * width)
        node = None
        if self.recording:
            edges: list[tuple[Any, float]] = [(t.node, t.count * t.width) for t in inputs if t.node]
            edges += [(t.node, SAME) for t in same if t.node]
            edges += parameters
            if edges:
                node = Node(count * width, edges, saved, extra)
                self.nodes.append(node)
        return Tensor(buffer, count, width, node)

    def cast(self, x: Tensor, width: int) -> Tensor:
        """Simulate `x.to(dtype)`, which is free if the width is already right."""
        return x if x.width == width else self.run_op(x.count, width, (x,))

    def backward(self, out: Tensor, gradient: Buffer | None) -> None:
        """Run every node from the last to the first, freeing what each kept."""
        if out.node is None:
            return
        out.node.grad = gradient if gradient is not None else Buffer(self.meter, out.node.size)
        del gradient
        # Nodes leave the list before they run, as a graph is freed while it is walked
        while self.nodes:
            phase = self.marks.pop(len(self.nodes), "")
            if phase:
                self.meter.kind = "activations"
                self.meter.enter_phase(phase)
            node = self.nodes.pop()
            if node.grad is not None:
                self._step_back(node)

    def _step_back(self, node: Node) -> None:
        # From here on this frame alone holds the gradient, so that it is freed as early as in autograd
        incoming, node.grad = node.grad, None
        assert incoming is not None
        if node.redo is not None:
            redo, node.redo = node.redo, None
            handed = [incoming]
            del incoming
            results = redo(handed.pop())  # which may free it before it is through
            del redo
        else:
            temporary = Buffer(self.meter, node.extra, "temporary") if node.extra else None
            kind = HEAD if self.meter.kind == HEAD else "activation gradients"
            results = [incoming if size == SAME else Buffer(self.meter, size, kind) for _, size in node.edges]
            del temporary, incoming
        # What the derivative kept goes before the results are handed on
        node.saved = None
        # Popped one by one: a result that was handed on must not stay referenced by a list here
        targets = [target for target, _ in node.edges]
        node.edges = []
        while targets:
            targets.pop(0).receive(results.pop(0))


def simulate_checkpointed_layer(
    tape: Tape, layer: Callable[[Tape, Tensor], Tensor], x: Tensor, offload: bool = False
) -> Tensor:
    """Run a layer without keeping anything but its input, and again in the backward pass.

    As `torch.utils.checkpoint`: the recomputed output lives until the layer's backward pass is through. With
    `offload` the input waits in host memory and comes back for the recomputation.
    """
    tape.recording = False
    out = layer(tape, x)
    tape.recording = True
    if not offload:
        x.buffer.relabel("checkpoints")
    saved = None if offload else x.buffer
    node = Node(out.count * out.width, [(x.node, 0.0)] if x.node else [], saved, 0.0)

    # The closure must not refer to `x`: that would keep the input alive even where it was offloaded
    kept, count, width, meter = [saved], x.count, x.width, tape.meter
    wanted = x.node is not None  # the first layer's input may have no gradient

    def redo(incoming: Buffer) -> list[Buffer]:
        inner = Tape(meter)
        inner.again = True
        start = Node(count * width, [], None, 0.0) if wanted else None
        again = layer(inner, Tensor(kept[0] or Buffer(meter, count * width), count, width, start))
        meter.cache.clear()
        inner.backward(again, incoming)
        return [] if start is None or start.grad is None else [start.grad]

    node.redo = redo
    node.size = out.count * out.width
    tape.nodes.append(node)
    return Tensor(out.buffer, out.count, out.width, node)
