"""MLPs and mixtures of experts, line by line as in transformers' modelling code."""

from __future__ import annotations

from tui_tuner.models.architectures.family import SHARED_GATE
from tui_tuner.planning.memory.meter import SINGLE, Tape, Tensor
from tui_tuner.planning.memory.ops import (
    simulate_activation,
    simulate_addition,
    simulate_fused_gating,
    simulate_multiplication,
)
from tui_tuner.planning.memory.parts import SHARED, LayerParts, name_expert_matrix


def simulate_mlp(layer: LayerParts, tape: Tape, x: Tensor, prefix: str = "", suffix: str = "") -> Tensor:
    """Simulate the feed-forward block: gated with two or one input matrices, or plain.

    Args:
        prefix, suffix: Of the names of its matrices among the layer's.
    """
    names, setup = [f"{prefix}{name}{suffix}" for name in layer.family.mlp], layer.setup
    at_once = setup.quick and not setup.checkpointing  # what is computed again need not keep less
    if len(names) == 3:
        gate = layer.run_linear(tape, x, names[0])
        gate = gate if at_once else simulate_activation(tape, gate, setup)
        up = layer.run_linear(tape, x, names[1])
        product = (
            simulate_fused_gating(tape, gate, up) if at_once else simulate_multiplication(tape, gate, up)
        )
        del gate, up
        return layer.run_linear(tape, product, names[2])
    first = layer.run_linear(tape, x, names[0])
    if layer.family.gated and at_once:
        size = first.count * first.width / 2
        product = tape.run_op(first.count / 2, first.width, (first,), (first.buffer,), extra=size)
        return layer.run_linear(tape, product, names[1])
    if layer.family.gated:
        half = first.count / 2
        gate = tape.run_op(half, first.width, (first,), view=first.buffer)
        up = tape.run_op(half, first.width, (first,), view=first.buffer)
        return layer.run_linear(
            tape, simulate_multiplication(tape, up, simulate_activation(tape, gate, setup)), names[1]
        )
    name = names[1] if names[1] in layer.linears else layer.output_name()
    inner = simulate_activation(tape, first, setup)
    del first
    if layer.sublayers and layer.normed_after:  # such modules hold it while what is behind the block runs
        layer.inner = inner
    return layer.run_linear(tape, inner, name)


def simulate_mixture(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """Simulate routed experts: every token goes through `experts_per_token` of them, weighted."""
    routed = _run_loop if layer.groups else _run_grouped
    total = routed(layer, tape, x)
    if layer.setup.facts.shared_ffn:
        total = simulate_addition(tape, total, _run_shared(layer, tape, x))
    return total


def _run_shared(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """Simulate the expert that every token passes, and its gate if it has one."""
    out = simulate_mlp(layer, tape, x, prefix=SHARED)
    if SHARED + SHARED_GATE not in layer.linears:
        return out
    gate = layer.run_linear(tape, x, SHARED + SHARED_GATE)
    # A sigmoid, which keeps its result
    gate = tape.run_op(gate.count, gate.width, (gate,), (gate.buffer,))
    return tape.run_op(out.count, out.width, (gate, out), (gate.buffer, out.buffer))


def _run_grouped(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """Simulate all experts as one grouped product (transformers 5)."""
    setup = layer.setup
    facts = setup.facts
    router = layer.run_linear(tape, x, "gate")
    weights = tape.run_op(router.count, SINGLE, (router,))  # softmax, in float32
    routed = layer.tokens * facts.experts_per_token
    total = tape.run_op(x.count, x.width, (), same=(x,))
    gathered = tape.run_op(routed * facts.hidden, x.width, (x,))
    names = layer.family.mlp
    if len(names) == 3:
        gate = simulate_activation(tape, layer.run_linear(tape, gathered, names[0]), setup)
        up = layer.run_linear(tape, gathered, names[1])
        out = layer.run_linear(tape, simulate_multiplication(tape, gate, up), names[2])
        del gate, up
    else:
        out = layer.run_linear(
            tape, simulate_activation(tape, layer.run_linear(tape, gathered, names[0]), setup), names[1]
        )
    scaled = tape.run_op(out.count, out.width, (out,), (out.buffer, weights.buffer))
    del out, gathered
    return tape.run_op(x.count, x.width, (scaled,), same=(total,), view=total.buffer)


def _run_loop(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """Simulate one expert after the other, each with its own tokens (transformers 4).

    What an expert keeps for its backward pass adds up over all of them; what exists only while it computes is
    that of one. The one with most tokens is taken to be the last, whose backward pass begins while everything
    is still kept.
    """
    facts = layer.setup.facts
    router = layer.run_linear(tape, x, "gate")
    weights = tape.run_op(router.count, SINGLE, (router,))
    # A tensor of zeros, into which every expert adds its rows
    total = tape.make_source(x.count, x.width)
    for number, (_unused, share) in enumerate(layer.groups):
        rows = layer.tokens * facts.experts_per_token * share
        # Indexing copies an expert's rows out of all rows
        own = tape.run_op(rows * facts.hidden, x.width, (x,))
        out = simulate_mlp(layer, tape, own, suffix=name_expert_matrix("", number))
        scale = tape.run_op(rows, x.width, (weights,))
        scaled = tape.run_op(out.count, out.width, (out, scale), (out.buffer, scale.buffer))
        del own, out, scale
        total = tape.run_op(x.count, x.width, (scaled,), same=(total,), view=total.buffer)
        del scaled
    return total
