"""MLPs and mixtures of experts, line by line as in transformers' modelling code."""

from __future__ import annotations

from tui_tuner.planning.memory.meter import HALF, SINGLE, Tape, Tensor
from tui_tuner.planning.memory.ops import activate, add, multiply
from tui_tuner.planning.memory.parts import LayerParts


def mlp(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """Gated with two or one input matrices, or plain."""
    names, setup = layer.family.mlp, layer.setup
    if len(names) == 3:
        gate = activate(tape, layer.linear(tape, x, names[0]), setup)
        up = layer.linear(tape, x, names[1])
        return layer.linear(tape, multiply(tape, gate, up), names[2])
    first = layer.linear(tape, x, names[0])
    if layer.family.gated:
        half = first.count / 2
        gate = tape.op(half, first.width, (first,), view=first.buffer)
        up = tape.op(half, first.width, (first,), view=first.buffer)
        return layer.linear(tape, multiply(tape, up, activate(tape, gate, setup)), names[1])
    name = names[1] if names[1] in layer.linears else layer.output_name()
    return layer.linear(tape, activate(tape, first, setup), name)


def mixture(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """Routed experts: every token goes through `experts_per_token` of them, weighted."""
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
    total = tape.op(x.count, x.width, (scaled,), same=(total,), view=total.buffer)
    if facts.shared_ffn:
        total = add(tape, total, _shared_expert(layer, tape, x))
    return total


def _shared_expert(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    inner = layer.tokens * layer.setup.facts.shared_ffn
    gate = activate(tape, tape.op(inner, HALF, (x,)), layer.setup)
    up = tape.op(inner, HALF, (x,))
    return tape.op(x.count, x.width, (multiply(tape, gate, up),))
