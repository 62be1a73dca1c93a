"""Memory before the first step and between steps, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.planning.memory.adapters_more import find_widest
from tui_tuner.planning.memory.head import is_trained, list_tensor_sizes
from tui_tuner.planning.memory.linear import Matrix
from tui_tuner.planning.memory.meter import SINGLE
from tui_tuner.planning.memory.programs import (
    count_kinds,
    list_layer_kinds,
    make_layer,
    narrow_setup,
    quantised_head,
    quantised_tensors,
)
from tui_tuner.planning.memory.prompt_tokens import trained_sizes
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.sublayers.fused import list_frozen_sizes

ROUND = 512  # the CUDA allocator's smallest block
ABSMAX_BLOCK, NESTED_BLOCK = 64, 256  # bitsandbytes' block sizes
SMALL_STATE = 4096  # bitsandbytes keeps 32-bit state below this many elements
PAGED_STATE = 100_000  # and pages only above this many
ADAM = ("adamw", "adam")


def round_up(size: float) -> float:
    """Round up to what the allocator hands out for a tensor of so many bytes."""
    return -(-size // ROUND) * ROUND


def static_rows(setup: Setup) -> dict[str, float]:
    """Return the bytes of each named row between two steps.

    Rows: weights, quantisation constants, adapters, optimizer states, gradients (if accumulation
    keeps them), batch, workspace.
    """
    rows = {"weights": 0.0, "quantisation constants": 0.0, "adapters": 0.0}
    # Each tensor is rounded on its own: thousands of small ones in blocks of 512 bytes add up
    for count, width, copies in frozen_tensors(setup):
        rows["weights"] += round_up(count * width) * copies
    for elements, outputs, copies in quantised_tensors(setup):
        rows["weights"] += round_up(elements * (0.5 if setup.quantization == "nf4" else 1)) * copies
        rows["quantisation constants"] += _count_constants(setup, elements, outputs) * copies
    gradients = 0.0
    for trained in trained_tensors(setup):
        size = round_up(trained.count * trained.width) * trained.copies
        rows["adapters" if trained.adapter else "weights"] += 0.0 if trained.counted else size
        gradients += size
    rows["optimizer states"] = optimizer_states(setup) if setup.states else 0.0
    rows["gradients"] = gradients if setup.accumulate else 0.0
    rows["16-bit copies of weights"] = shadow_bytes(setup)
    rows["batch"] = 4 * round_up(8.0 * setup.total_tokens)  # ids, labels, mask, positions as int64
    rows["workspace"] = setup.workspace
    return rows


def shadow_bytes(setup: Setup) -> float:
    """Return the bytes of 16-bit LoRA copies that are kept for all layers (`compute.low_rank.shadow`)."""
    # Copies exist only where float32 adapters are computed in 16 bits by this program's own kernels
    if not setup.quick or setup.adapter == setup.compute:
        return 0.0
    size = 0.0
    for dense, layers in count_kinds(list_layer_kinds(setup)[1]):
        for matrix in make_layer(narrow_setup(setup, dense), True).linears.values():
            if isinstance(matrix, Matrix) and matrix.is_joint:
                size += sum(own.count for own in matrix.parameters) * setup.compute * layers
    return size


def optimizer_states(setup: Setup) -> float:
    """Return the bytes that optimizer and method keep between steps, from the end of the first one on."""
    own = sum(count_state_bytes(setup.optimizer, t.count, t.width) * t.copies for t in trained_tensors(setup))
    return own + measured_bytes(setup)


def measured_bytes(setup: Setup) -> float:
    """Return the bytes of the numbers that a method keeps for each trained one of its adapters."""
    if not setup.measured:
        return 0.0
    size = 0.0
    for dense, layers in count_kinds(list_layer_kinds(setup)[1]):
        for parameter in make_layer(narrow_setup(setup, dense), True).parameters:
            size += round_up(parameter.count * parameter.width) * layers
    return setup.measured * size


@dataclass(frozen=True)
class TrainedTensors:
    """Tensors of one size that have a gradient and optimizer state.

    `counted` ones are among the frozen tensors already: a few of the model's own weights.
    """

    count: float
    width: int
    copies: float
    adapter: bool
    counted: bool = False


def trained_tensors(setup: Setup) -> Iterator[TrainedTensors]:
    """Yield every trained tensor, grouped by size."""
    facts = setup.facts
    if setup.virtual_tokens:
        for size in trained_sizes(setup):
            yield TrainedTensors(size, SINGLE, 1, True)
    for size in setup.elsewhere:
        yield TrainedTensors(size, setup.adapter, 1, True)
    if setup.own:
        yield TrainedTensors(setup.own, setup.weight, 1, False, counted=True)
    for dense, layers in count_kinds(list_layer_kinds(setup)[1]):
        for parameter in make_layer(narrow_setup(setup, dense), True).parameters:
            yield TrainedTensors(
                parameter.count, parameter.width, layers * _share_own(setup), not setup.trains_weights
            )
    for part in setup.head:
        if is_trained(setup, part):
            for size in list_tensor_sizes(part):
                yield TrainedTensors(size, setup.embedding, 1, not setup.trains_weights)
    if setup.whole_model:
        yield TrainedTensors(float(facts.embedding_parameters), setup.embedding, 1, False)
        if facts.beside.outside:
            yield TrainedTensors(float(facts.beside.outside), setup.embedding, 1, False)
        if facts.head_parameters and not setup.head:
            yield TrainedTensors(float(facts.head_parameters), setup.embedding, 1, False)
        yield TrainedTensors(float(facts.hidden), setup.norm, 1, False)
    elif setup.trains_head and not setup.head:
        yield TrainedTensors(float(facts.head_parameters), setup.embedding, 1, False, counted=True)
    elif setup.train_embeddings:
        yield TrainedTensors(float(facts.token_parameters), setup.embedding, 1, True)
        if not facts.tied and not setup.head:
            yield TrainedTensors(float(facts.vocab * facts.hidden), setup.embedding, 1, True)


def frozen_tensors(setup: Setup) -> Iterator[tuple[float, int, float]]:
    """Yield (elements, width, copies) of each frozen tensor that is not quantised."""
    facts = setup.facts
    for size in setup.below:
        yield size, setup.adapter, 1
    for dense, frozen in count_kinds(_frozen_layers(setup)):
        layer = make_layer(narrow_setup(setup, dense), False)
        # ALBERT's layers share weights: many layers, one set of tensors
        copies = frozen * _share_own(setup)
        for matrix in layer.linears.values():
            if not matrix.quantised:
                yield matrix.count, setup.weight, copies
            if matrix.shape.bias:
                yield float(matrix.shape.outputs), setup.weight, copies
        yield float(facts.norm_parameters), setup.norm, copies
    for size in list_frozen_sizes(setup):
        yield size, setup.adapter, setup.layers or facts.layers
    yield from _list_shared(setup)
    if not setup.whole_model:
        yield float(facts.embedding_parameters), setup.embedding, 1
        if facts.beside.outside:
            yield float(facts.beside.outside), setup.embedding, 1
        for part in setup.head:
            if not (
                setup.trains_weights and is_trained(setup, part)
            ):  # an adapter's copy leaves the original there
                yield from ((size, setup.embedding, 1) for size in list_tensor_sizes(part))
        # A quantised head is among the quantised tensors
        head = facts.head_parameters - (facts.vocab * facts.hidden if quantised_head(setup) else 0)
        if head and not setup.head:
            yield float(head), setup.embedding, 1
        yield float(facts.hidden), setup.norm, 1


def _list_shared(setup: Setup) -> Iterator[tuple[float, int, float]]:
    """Yield the tensors that adapters of all layers share: as large as the largest matrix needs."""
    inputs, outputs = find_widest(setup)
    if setup.form is Form.SHARED:
        yield float(setup.rank * inputs), setup.adapter, 1
        yield float(setup.rank * outputs), setup.adapter, 1
    elif setup.form is Form.RANDOM_BASES:
        narrow, wide = sorted((inputs, outputs))
        yield float(setup.rank * narrow), setup.adapter, 1
        yield float(-(-narrow // setup.rank) * setup.rank * wide), setup.adapter, 1
    elif setup.form is Form.BUTTERFLY:
        widths = {
            one.inputs for one in setup.facts.layer_linears if setup.stack.adapts_linear(one, setup.targets)
        }
        yield from ((float(width**2), setup.weight, 1) for width in widths)


def _share_own(setup: Setup) -> float:
    """Return the share of the layers that have their own weights (ALBERT's share them)."""
    return setup.facts.own_layers / setup.facts.layers


def _frozen_layers(setup: Setup) -> tuple[bool, ...]:
    """Return the kinds of the layers whose own weights are not trained."""
    below, top = list_layer_kinds(setup)
    return below if setup.trains_weights else (*below, *top)


def _count_constants(setup: Setup, elements: float, outputs: int) -> float:
    """Count the quantisation constants of a matrix: absmax, and with double quantisation its own."""
    # LLM.int8 keeps one float32 scale for each output; 4-bit formats one for each block of 64 weights
    if setup.quantization == "int8":
        return round_up(outputs * SINGLE)
    blocks = elements / ABSMAX_BLOCK
    code = round_up(16 * SINGLE)
    if not setup.double_quant:
        return round_up(blocks * SINGLE) + code
    nested = round_up(blocks / NESTED_BLOCK * SINGLE) + round_up(256 * SINGLE) + round_up(SINGLE)
    return round_up(blocks) + nested + code


def count_state_bytes(optimizer: str, count: float, width: int) -> float:
    """Return the optimizer state of one tensor, in bytes of device memory."""
    if optimizer in ADAM:
        return 2 * round_up(count * width)
    if optimizer.endswith("8bit"):
        # Below this size bitsandbytes keeps 32-bit states whatever the optimizer is called (`min_8bit_size`)
        if count < SMALL_STATE:
            return 2 * round_up(count * SINGLE)
        # bitsandbytes makes paged buffers from this size on only
        if optimizer.startswith("paged") and count >= PAGED_STATE:
            return 0.0  # managed memory, outside torch's counters
        return 2 * (round_up(count) + round_up(count / 256 * SINGLE))
    if optimizer == "adafactor":
        return 2 * round_up(2 * count**0.5 * SINGLE)  # a row and a column of second moments
    return 0.0


def count_temporary(setup: Setup) -> float:
    """Return the bytes that exist only while the optimizer steps."""
    tensors = list(trained_tensors(setup))
    # The for-each AdamW writes the denominators of all tensors at once; the fused one keeps nothing
    if setup.optimizer in ADAM and setup.foreach:
        return sum(round_up(t.count * t.width) * t.copies for t in tensors)
    if setup.optimizer == "adafactor":
        return 2 * max((t.count * SINGLE for t in tensors), default=0.0)
    return 0.0
