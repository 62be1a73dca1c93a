"""What lies in memory before the first step and between steps, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tui_tuner.planning.memory.head import tensor_sizes, trains
from tui_tuner.planning.memory.linear import Matrix
from tui_tuner.planning.memory.meter import SINGLE
from tui_tuner.planning.memory.programs import (
    counted,
    layer_kinds,
    layer_of,
    of_kind,
    quantised_head,
    quantised_tensors,
)
from tui_tuner.planning.memory.prompts import trained_sizes
from tui_tuner.planning.memory.setup import Setup

ROUND = 512  # the CUDA allocator's smallest block
ABSMAX_BLOCK, NESTED_BLOCK = 64, 256  # bitsandbytes' block sizes
SMALL_STATE = 4096  # bitsandbytes keeps 32-bit state below this many elements
PAGED_STATE = 100_000  # and pages only above this many
ADAM = ("adamw", "adam")


def rounded(size: float) -> float:
    """Bytes that the allocator hands out for a tensor."""
    return -(-size // ROUND) * ROUND


def static_rows(setup: Setup) -> dict[str, float]:
    """Bytes of each named row between two steps.

    Rows: weights, quantisation constants, adapters, optimizer states, gradients (if accumulation
    keeps them), batch, workspace.
    """
    rows = {"weights": 0.0, "quantisation constants": 0.0, "adapters": 0.0}
    for count, width, copies in frozen_tensors(setup):
        rows["weights"] += rounded(count * width) * copies
    for elements, outputs, copies in quantised_tensors(setup):
        rows["weights"] += rounded(elements * (0.5 if setup.quantization == "nf4" else 1)) * copies
        rows["quantisation constants"] += _constants(setup, elements, outputs) * copies
    gradients = 0.0
    for trained in trained_tensors(setup):
        size = rounded(trained.count * trained.width) * trained.copies
        rows["adapters" if trained.adapter else "weights"] += size
        gradients += size
    rows["optimizer states"] = optimizer_states(setup) if setup.states else 0.0
    rows["gradients"] = gradients if setup.accumulate else 0.0
    rows["16-bit copies of weights"] = shadow_bytes(setup)
    rows["batch"] = 4 * rounded(8.0 * setup.tokens)  # ids, labels, mask, positions as int64
    rows["workspace"] = setup.workspace
    return rows


def shadow_bytes(setup: Setup) -> float:
    """16-bit copies of LoRA matrices that are kept for all layers (`compute.low_rank.shadow`)."""
    if not setup.quick or setup.adapter == setup.compute:
        return 0.0
    size = 0.0
    for dense, layers in counted(layer_kinds(setup)[1]):
        for matrix in layer_of(of_kind(setup, dense), True).linears.values():
            if isinstance(matrix, Matrix) and matrix.joint:
                size += sum(own.count for own in matrix.parameters) * setup.compute * layers
    return size


def optimizer_states(setup: Setup) -> float:
    """Bytes that the optimizer keeps between steps, from the end of its first on."""
    return sum(state_bytes(setup.optimizer, t.count, t.width) * t.copies for t in trained_tensors(setup))


@dataclass(frozen=True)
class Trained:
    """Tensors of one size that have a gradient and optimizer state."""

    count: float
    width: int
    copies: float
    adapter: bool


def trained_tensors(setup: Setup) -> Iterator[Trained]:
    """Every trained tensor, grouped by size."""
    facts = setup.facts
    if setup.virtual_tokens:
        for size in trained_sizes(setup):
            yield Trained(size, SINGLE, 1, True)
    for dense, layers in counted(layer_kinds(setup)[1]):
        for parameter in layer_of(of_kind(setup, dense), True).parameters:
            yield Trained(parameter.count, parameter.width, layers * _own(setup), not setup.full)
    for part in setup.head:
        if trains(setup, part):
            for size in tensor_sizes(part):
                yield Trained(size, setup.embedding, 1, not setup.full)
    if setup.method == "full":
        yield Trained(float(facts.embedding_parameters), setup.embedding, 1, False)
        if facts.beside.outside:
            yield Trained(float(facts.beside.outside), setup.embedding, 1, False)
        if facts.head_parameters and not setup.head:
            yield Trained(float(facts.head_parameters), setup.embedding, 1, False)
        yield Trained(float(facts.hidden), setup.norm, 1, False)
    elif setup.train_embeddings:
        yield Trained(float(facts.token_parameters), setup.embedding, 1, True)
        if not facts.tied and not setup.head:
            yield Trained(float(facts.vocab * facts.hidden), setup.embedding, 1, True)


def frozen_tensors(setup: Setup) -> Iterator[tuple[float, int, float]]:
    """(elements, width, copies) of each frozen tensor that is not quantised."""
    facts = setup.facts
    for dense, frozen in counted(_frozen_layers(setup)):
        layer = layer_of(of_kind(setup, dense), False)
        copies = frozen * _own(setup)
        for matrix in layer.linears.values():
            if not matrix.quantised:
                yield matrix.count, setup.weight, copies
            if matrix.shape.bias:
                yield float(matrix.shape.outputs), setup.weight, copies
        yield float(facts.norm_parameters), setup.norm, copies
    if setup.variant == "vera":  # one pair of random matrices, as large as the largest layer needs
        adapted = [linear for linear in facts.linears if setup.stack.adapts(linear, setup.targets)]
        for sides in ([one.inputs for one in adapted], [one.outputs for one in adapted]):
            yield float(setup.rank * max(sides, default=0)), setup.adapter, 1
    if setup.method != "full":
        yield float(facts.embedding_parameters), setup.embedding, 1
        if facts.beside.outside:
            yield float(facts.beside.outside), setup.embedding, 1
        for part in setup.head:
            if not (setup.full and trains(setup, part)):  # an adapter's copy leaves the original there
                yield from ((size, setup.embedding, 1) for size in tensor_sizes(part))
        head = facts.head_parameters - (facts.vocab * facts.hidden if quantised_head(setup) else 0)
        if head and not setup.head:
            yield float(head), setup.embedding, 1
        yield float(facts.hidden), setup.norm, 1


def _own(setup: Setup) -> float:
    """The part of the layers that has weights of its own."""
    return setup.facts.own_layers / setup.facts.layers


def _frozen_layers(setup: Setup) -> tuple[bool, ...]:
    """The kinds of the layers whose own weights are not trained."""
    below, top = layer_kinds(setup)
    return below if setup.full else (*below, *top)


def _constants(setup: Setup, elements: float, outputs: int) -> float:
    """Quantisation constants of one matrix: absmax, and with double quantisation its own constants."""
    if setup.quantization == "int8":
        return rounded(outputs * SINGLE)
    blocks = elements / ABSMAX_BLOCK
    code = rounded(16 * SINGLE)
    if not setup.double_quant:
        return rounded(blocks * SINGLE) + code
    nested = rounded(blocks / NESTED_BLOCK * SINGLE) + rounded(256 * SINGLE) + rounded(SINGLE)
    return rounded(blocks) + nested + code


def state_bytes(optimizer: str, count: float, width: int) -> float:
    """Optimizer state of one tensor, in bytes of device memory."""
    if optimizer in ADAM:
        return 2 * rounded(count * width)
    if optimizer.endswith("8bit"):
        if count < SMALL_STATE:
            return 2 * rounded(count * SINGLE)
        if optimizer.startswith("paged") and count >= PAGED_STATE:
            return 0.0  # managed memory, outside torch's counters
        return 2 * (rounded(count) + rounded(count / 256 * SINGLE))
    if optimizer == "adafactor":
        return 2 * rounded(2 * count**0.5 * SINGLE)  # a row and a column of second moments
    return 0.0


def step_temporary(setup: Setup) -> float:
    """Bytes that exist only while the optimizer steps."""
    tensors = list(trained_tensors(setup))
    if setup.optimizer in ADAM and setup.foreach:
        return sum(rounded(t.count * t.width) * t.copies for t in tensors)
    if setup.optimizer == "adafactor":
        return 2 * max((t.count * SINGLE for t in tensors), default=0.0)
    return 0.0
