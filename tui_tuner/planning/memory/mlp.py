"""MLPs and mixtures of experts, line by line as in transformers' modelling code."""

from __future__ import annotations

from tui_tuner.models.architectures.family import SHARED_GATE
from tui_tuner.planning.memory.meter import SINGLE, Tape, Tensor
from tui_tuner.planning.memory.ops import activate, add, gate_at_once, multiply
from tui_tuner.planning.memory.parts import SHARED, LayerParts, expert_name


def mlp(layer: LayerParts, tape: Tape, x: Tensor, prefix: str = "", suffix: str = "") -> Tensor:
    """Gated with two or one input matrices, or plain.

    Args:
        prefix, suffix: Of the names of its matrices among the layer's.
    """
    names, setup = [f"{prefix}{name}{suffix}" for name in layer.family.mlp], layer.setup
    at_once = setup.quick and not setup.checkpointing  # what is computed again need not keep less
    if len(names) == 3:
        gate = layer.linear(tape, x, names[0])
        gate = gate if at_once else activate(tape, gate, setup)
        up = layer.linear(tape, x, names[1])
        product = gate_at_once(tape, gate, up) if at_once else multiply(tape, gate, up)
        del gate, up
        return layer.linear(tape, product, names[2])
    first = layer.linear(tape, x, names[0])
    if layer.family.gated and at_once:
        size = first.count * first.width / 2
        product = tape.op(first.count / 2, first.width, (first,), (first.buffer,), extra=size)
        return layer.linear(tape, product, names[1])
    if layer.family.gated:
        half = first.count / 2
        gate = tape.op(half, first.width, (first,), view=first.buffer)
        up = tape.op(half, first.width, (first,), view=first.buffer)
        return layer.linear(tape, multiply(tape, up, activate(tape, gate, setup)), names[1])
    name = names[1] if names[1] in layer.linears else layer.output_name()
    return layer.linear(tape, activate(tape, first, setup), name)


def mixture(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """Routed experts: every token goes through `experts_per_token` of them, weighted."""
    routed = _looped if layer.groups else _grouped
    total = routed(layer, tape, x)
    if layer.setup.facts.shared_ffn:
        total = add(tape, total, _shared(layer, tape, x))
    return total


def _shared(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """The expert that every token passes, and where there is one, its gate."""
    out = mlp(layer, tape, x, prefix=SHARED)
    if SHARED + SHARED_GATE not in layer.linears:
        return out
    gate = layer.linear(tape, x, SHARED + SHARED_GATE)
    gate = tape.op(gate.count, gate.width, (gate,), (gate.buffer,))
    return tape.op(out.count, out.width, (gate, out), (gate.buffer, out.buffer))


def _grouped(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """All experts in one product of groups of rows (transformers 5)."""
    setup = layer.setup
    facts = setup.facts
    router = layer.linear(tape, x, "gate")
    weights = tape.op(router.count, SINGLE, (router,))  # softmax, in float32
    routed = layer.tokens * facts.experts_per_token
    total = tape.op(x.count, x.width, (), same=(x,))
    gathered = tape.op(routed * facts.hidden, x.width, (x,))
    names = layer.family.mlp
    if len(names) == 3:
        gate = activate(tape, layer.linear(tape, gathered, names[0]), setup)
        up = layer.linear(tape, gathered, names[1])
        out = layer.linear(tape, multiply(tape, gate, up), names[2])
        del gate, up
    else:
        out = layer.linear(tape, activate(tape, layer.linear(tape, gathered, names[0]), setup), names[1])
    scaled = tape.op(out.count, out.width, (out,), (out.buffer, weights.buffer))
    del out, gathered
    return tape.op(x.count, x.width, (scaled,), same=(total,), view=total.buffer)


def _looped(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """One expert after the other, each with its own tokens (transformers 4).

    What an expert keeps for its backward pass adds up over all of them; what exists only while it computes is
    that of one. The one with most tokens is taken to be the last, whose backward pass begins while everything
    is still kept.
    """
    facts = layer.setup.facts
    router = layer.linear(tape, x, "gate")
    weights = tape.op(router.count, SINGLE, (router,))
    total = tape.source(x.count, x.width)
    for number, (_unused, share) in enumerate(layer.groups):
        rows = layer.tokens * facts.experts_per_token * share
        own = tape.op(rows * facts.hidden, x.width, (x,))
        out = mlp(layer, tape, own, suffix=expert_name("", number))
        scale = tape.op(rows, x.width, (weights,))
        scaled = tape.op(out.count, out.width, (out, scale), (out.buffer, scale.buffer))
        del own, out, scale
        total = tape.op(x.count, x.width, (scaled,), same=(total,), view=total.buffer)
        del scaled
    return total
