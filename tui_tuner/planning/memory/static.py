"""Memory before the first step and between steps, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.planning.memory.adapters_more import find_widest
from tui_tuner.planning.memory.head import is_head_module_trained, list_tensor_shapes, list_tensor_sizes
from tui_tuner.planning.memory.linear import Matrix
from tui_tuner.planning.memory.meter import SINGLE
from tui_tuner.planning.memory.programs import (
    count_layer_kinds,
    is_head_quantised,
    list_layer_kinds,
    list_quantised_tensors,
    make_program_layer,
    narrow_layer_setup,
)
from tui_tuner.planning.memory.prompt_tokens import list_trained_shapes
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.sublayers.fused import list_frozen_sizes
from tui_tuner.planning.optimizer_states import TrainedTensors, count_temporary_bytes, round_up, sum_states

ABSMAX_BLOCK, NESTED_BLOCK = 64, 256  # bitsandbytes' block sizes


def list_static_rows(setup: Setup) -> dict[str, float]:
    """Return the bytes of each named row between two steps.

    Rows: weights, quantisation constants, adapters, optimizer states, gradients (if accumulation
    keeps them), batch, workspace.
    """
    rows = {"weights": 0.0, "quantisation constants": 0.0, "adapters": 0.0}
    # Each tensor is rounded on its own: thousands of small ones in blocks of 512 bytes add up
    for count, width, copies in list_frozen_tensors(setup):
        rows["weights"] += round_up(count * width) * copies
    for elements, outputs, copies in list_quantised_tensors(setup):
        rows["weights"] += round_up(elements * (0.5 if setup.quantization == "nf4" else 1)) * copies
        rows["quantisation constants"] += _count_constants(setup, elements, outputs) * copies
    gradients = 0.0
    for trained in list_trained_tensors(setup):
        size = round_up(trained.count * trained.width) * trained.copies
        rows["adapters" if trained.adapter else "weights"] += 0.0 if trained.counted else size
        gradients += size
    rows["optimizer states"] = count_optimizer_states(setup) if setup.states else 0.0
    rows["gradients"] = gradients if setup.accumulate else 0.0
    rows["16-bit copies of weights"] = count_shadow_bytes(setup)
    rows["batch"] = 4 * round_up(8.0 * setup.total_tokens)  # ids, labels, mask, positions as int64
    rows["workspace"] = setup.workspace
    return rows


def count_shadow_bytes(setup: Setup) -> float:
    """Return the bytes of 16-bit LoRA copies that are kept for all layers (`compute.low_rank.shadow`)."""
    # Copies exist only where float32 adapters are computed in 16 bits by this program's own kernels
    if not setup.quick or setup.adapter == setup.compute:
        return 0.0
    size = 0.0
    for stack in setup.stacks:
        for dense, layers in count_layer_kinds(list_layer_kinds(stack)[1]):
            for matrix in make_program_layer(narrow_layer_setup(stack, dense), True).linears.values():
                if isinstance(matrix, Matrix) and matrix.is_joint:
                    size += sum(own.count for own in matrix.parameters) * setup.compute * layers
    return size


def count_optimizer_states(setup: Setup) -> float:
    """Return the bytes that optimizer and method keep between steps, from the end of the first one on."""
    own = sum_states(setup.optimizer, list_trained_tensors(setup), setup.optimizer_rank)
    return own + measured_bytes(setup)


def measured_bytes(setup: Setup) -> float:
    """Return the bytes of the numbers that a method keeps for each trained one of its adapters."""
    if not setup.measured:
        return 0.0
    size = 0.0
    for stack in setup.stacks:
        for dense, layers in count_layer_kinds(list_layer_kinds(stack)[1]):
            for parameter in make_program_layer(narrow_layer_setup(stack, dense), True).parameters:
                size += round_up(parameter.count * parameter.width) * layers
    return setup.measured * size


def list_trained_tensors(setup: Setup) -> Iterator[TrainedTensors]:
    """Yield every trained tensor, grouped by size."""
    facts = setup.facts
    if setup.virtual_tokens:
        for shape, is_table in list_trained_shapes(setup):
            count = float(math.prod(shape))
            yield TrainedTensors(count, SINGLE, 1, True, shape=shape, table=is_table)
    for size in setup.elsewhere:
        yield TrainedTensors(size, setup.adapter, 1, True)
    if setup.own:
        yield TrainedTensors(setup.own, setup.weight, 1, False, counted=True)
    for stack in setup.stacks:
        yield from _list_layer_tensors(stack)
    if setup.whole_model:
        yield from _list_side_tensors(setup)
    for part in setup.head:
        if is_head_module_trained(setup, part):
            for shape in list_tensor_shapes(part):
                yield _as_whole(setup, shape, not setup.trains_weights)
    table, head = (facts.token_parameters // facts.embedding_width, facts.embedding_width), _head_shape(setup)
    if setup.whole_model:
        if facts.embedding_parameters == facts.token_parameters:
            yield _as_whole(setup, table, False, table=True)
        else:
            yield TrainedTensors(float(facts.embedding_parameters), setup.embedding, 1, False, table=True)
        if facts.beside.outside:
            yield TrainedTensors(float(facts.beside.outside), setup.embedding, 1, False)
        if facts.head_parameters and not setup.head:
            yield TrainedTensors(float(facts.head_parameters), setup.embedding, 1, False, shape=head)
        yield TrainedTensors(float(facts.hidden), setup.norm, 1, False, shape=(facts.hidden,))
    # The norm behind the layers goes with them; such encoders have one before them instead
    before = facts.encoder and facts.family.norm_bias
    if setup.whole_layers and setup.trained_layers and facts.final_norm and not before:
        hidden, copies = facts.hidden, facts.final_norm / facts.hidden
        yield TrainedTensors(float(hidden), setup.norm, copies, False, counted=True, shape=(hidden,))
    if setup.whole_model:
        return
    if setup.trains_head and not setup.head:
        count = float(facts.head_parameters)
        yield TrainedTensors(count, setup.embedding, 1, False, counted=True, shape=head)
    elif setup.train_embeddings:
        yield _as_whole(setup, table, True, table=True)
        if not facts.tied and not setup.head:
            yield _as_whole(setup, (facts.vocab, facts.hidden), True)


def _list_layer_tensors(setup: Setup) -> Iterator[TrainedTensors]:
    """Yield the trained tensors in the layers of one stack."""
    for dense, layers in count_layer_kinds(list_layer_kinds(setup)[1]):
        for parameter in make_program_layer(narrow_layer_setup(setup, dense), True).parameters:
            copies, apart = layers * _share_own(setup), not setup.trains_weights
            yield TrainedTensors(
                parameter.count, parameter.width, copies, apart, shape=parameter.shape, inside=True
            )


def _list_side_tensors(setup: Setup) -> Iterator[TrainedTensors]:
    """Yield the trained tensors beside the layers of an encoder, and tables in the layers of either stack."""
    for stack in setup.stacks if setup.facts.family.stacked else ():
        facts = stack.facts
        if facts.beside.in_layer:
            yield TrainedTensors(float(facts.beside.in_layer), stack.weight, facts.layers, False)
        if facts.encoder:
            for count in (facts.embedding_parameters, facts.beside.outside):
                if count:
                    yield TrainedTensors(float(count), stack.embedding, 1, False)
            if facts.final_norm:
                yield TrainedTensors(float(facts.final_norm + facts.beside.norms), stack.norm, 1, False)


def _as_whole(setup: Setup, shape: tuple[int, ...], adapter: bool, table: bool = False) -> TrainedTensors:
    """Return a tensor outside of the layers, in the width of embeddings."""
    count = float(math.prod(shape))
    return TrainedTensors(count, setup.embedding, 1, adapter, shape=shape, table=table)


def _head_shape(setup: Setup) -> tuple[int, ...]:
    """Return the shape of the head that writes, if it is one matrix."""
    facts = setup.facts
    return (facts.vocab, facts.hidden) if facts.head_parameters == facts.vocab * facts.hidden else ()


def list_frozen_tensors(setup: Setup) -> Iterator[tuple[float, int, float]]:
    """Yield (elements, width, copies) of each frozen tensor that is not quantised."""
    facts = setup.facts
    for size in setup.below:
        yield size, setup.adapter, 1
    for stack in setup.stacks:
        yield from _list_frozen_layers(stack)
    for size in list_frozen_sizes(setup):
        yield size, setup.adapter, setup.trained_layers
    yield from _list_shared(setup)
    if not setup.whole_model:
        yield float(facts.embedding_parameters), setup.embedding, 1
        if facts.beside.outside:
            yield float(facts.beside.outside), setup.embedding, 1
        for part in setup.head:
            if not (
                setup.trains_weights and is_head_module_trained(setup, part)
            ):  # an adapter's copy leaves the original there
                yield from ((size, setup.embedding, 1) for size in list_tensor_sizes(part))
        # A quantised head is among the quantised tensors
        head = facts.head_parameters - (facts.vocab * facts.hidden if is_head_quantised(setup) else 0)
        if head and not setup.head:
            yield float(head), setup.embedding, 1
        yield float(facts.hidden), setup.norm, 1


def _list_frozen_layers(setup: Setup) -> Iterator[tuple[float, int, float]]:
    """Yield (elements, width, copies) of the frozen tensors of one stack, as `list_frozen_tensors`."""
    facts = setup.facts
    for dense, frozen in count_layer_kinds(_frozen_layers(setup)):
        layer = make_program_layer(narrow_layer_setup(setup, dense), False)
        # ALBERT's layers share weights: many layers, one set of tensors
        copies = frozen * _share_own(setup)
        for matrix in layer.linears.values():
            if not matrix.quantised:
                yield matrix.count, setup.weight, copies
            if matrix.shape.bias:
                yield float(matrix.shape.outputs), setup.weight, copies
        yield float(facts.norm_parameters), setup.norm, copies
        if facts.family.stacked and facts.beside.in_layer:
            yield float(facts.beside.in_layer), setup.weight, copies
    if facts.family.stacked and facts.encoder and not setup.whole_model:
        yield float(facts.embedding_parameters), setup.embedding, 1
        yield float(facts.beside.outside), setup.embedding, 1
        yield float(facts.final_norm + facts.beside.norms), setup.norm, 1


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


def count_setup_temporary(setup: Setup) -> float:
    """Return the bytes that exist only while the optimizer steps."""
    return count_temporary_bytes(
        setup.optimizer, list_trained_tensors(setup), setup.optimizer_rank, setup.foreach
    )
