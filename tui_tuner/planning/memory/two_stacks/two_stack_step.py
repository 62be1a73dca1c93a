"""A step of a model with two stacks: source, encoder, target, decoder, head, and back again.

Counts are elements, not bytes. Local variables are kept exactly as long as in the code they mirror, because
what a caller still holds is part of the peak.
"""

from __future__ import annotations

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.planning.memory.head import simulate_head
from tui_tuner.planning.memory.meter import HEAD, SINGLE, Buffer, Meter, Node, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import simulate_dropout, simulate_norm
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.two_stacks.stack_layer import StackLayer, Surroundings

BUCKETS = 4  # tensors of int64 and float32 that exist while distances are put into buckets


def simulate_two_stacks(
    setup: Setup, meter: Meter, names: tuple[str, str, str, str], layers: tuple[int, int]
) -> None:
    """Simulate a step; what it needs is in the peaks of `meter`.

    Args:
        names: Of the phases: forward, loss, the decoder's backward pass, the encoder's.
        layers: Layers of the encoder, and of the decoder.
    """
    forward, loss, back, first = names
    tape = Tape(meter)
    meter.enter_phase(forward)
    facts = setup.facts
    table = Parameter(float(facts.token_parameters), setup.embedding)
    table.tied = facts.tied or not (facts.source and facts.source.vocab)
    meter.held.append(table)
    source = setup.stacks[0]
    states = _run_stack(source, tape, table, None, layers[0])
    tape.marks[len(tape.nodes)] = first
    hidden = _run_stack(setup, tape, table, states, layers[1])
    tape.marks[len(tape.nodes)] = back
    meter.enter_phase(loss)
    holder = [hidden]
    del hidden, states
    result = _simulate_loss(setup, tape, holder, table)
    meter.cache.clear()
    tape.backward(result, None)


def _run_stack(setup: Setup, tape: Tape, table: Parameter, states: Tensor | None, layers: int) -> Tensor:
    """Embed the tokens of one side and run the layers of its stack."""
    facts, family = setup.facts, setup.facts.family
    hidden = _embed(setup, tape, table)
    if "first" in family.stack_norms:
        hidden = _norm_stack(setup, tape, hidden)
    around = _make_surroundings(setup, tape, states, hidden)
    hidden = simulate_dropout(tape, hidden, facts.dropout)
    trained = setup.trained_layers if setup.layers else layers
    for place in range(layers):
        above = layers - 1 - place
        layer = StackLayer(setup, place >= layers - trained)
        tape.meter.held.append(layer)
        if setup.checkpointing and not (setup.every_second and above % 2 == 0):
            hidden = checkpoint_stack_layer(tape, layer, hidden, around)
        else:
            hidden = layer(tape, hidden, around)
    del around
    if "last" in family.stack_norms:
        hidden = _norm_stack(setup, tape, hidden)
        if family.relative:
            hidden = simulate_dropout(tape, hidden, facts.dropout)
    return hidden


def _embed(setup: Setup, tape: Tape, table: Parameter) -> Tensor:
    facts = setup.facts
    count = float(setup.total_tokens * facts.hidden)
    if not setup.trains_table:
        hidden = tape.make_source(count, setup.embedding, grad=setup.embedding_grad)
    else:
        own = (
            Parameter(float(facts.token_parameters), setup.embedding)
            if facts.encoder and facts.vocab
            else table
        )
        tape.meter.held.append(own)
        grads = ((own, own.count * own.width),)
        hidden = tape.run_op(count, setup.embedding, (), parameters=grads, extra=_count_sum(setup, own))
    if facts.family.relative:
        return hidden
    # BART scales its embeddings, if only by one, and adds those of the positions
    hidden = tape.run_op(count, hidden.width, (hidden,))
    rows = float(facts.beside.positions * facts.hidden)
    placed: tuple[tuple[Parameter, float], ...] = ()
    if rows and setup.whole_model:
        positions = Parameter(rows, setup.embedding)
        tape.meter.held.append(positions)
        placed = ((positions, rows * positions.width),)
    return tape.run_op(count, hidden.width, (), same=(hidden,), parameters=placed)


def _count_sum(setup: Setup, table: Parameter) -> float:
    """Return the bytes of the sum of a tied head's gradient and the decoder's embeddings'.

    The head's own is a transposed view, to which autograd adds nothing in place.
    """
    plain = setup.embedding == (setup.compute if setup.autocast else setup.embedding)
    return table.count * table.width if setup.facts.tied and plain and not setup.facts.encoder else 0.0


def _norm_stack(setup: Setup, tape: Tape, hidden: Tensor) -> Tensor:
    """Simulate a norm outside of the layers."""
    own: Parameter | None = None
    if setup.whole_model or setup.form is Form.NORMS:
        own = Parameter(float(setup.facts.hidden), setup.norm)
        tape.meter.held.append(own)
    return simulate_norm(tape, hidden, setup, own)


def _make_surroundings(setup: Setup, tape: Tape, states: Tensor | None, hidden: Tensor) -> Surroundings:
    facts, meter = setup.facts, tape.meter
    # masks of bytes: what is padding, of each pair of positions
    if states is None:
        meter.held.append(Buffer(meter, float(setup.batch * setup.length**2)))
    else:
        meter.held.append(Buffer(meter, float(setup.batch * setup.length * setup.source_length)))
    if not facts.family.relative:
        return Surroundings(states=states)
    pairs = float(setup.length**2)
    buckets = Buffer(meter, BUCKETS * 8 * pairs)
    grads: tuple[tuple[Parameter, float], ...] = ()
    if setup.whole_model:
        table = Parameter(float(facts.beside.outside), setup.weight)
        meter.held.append(table)
        grads = ((table, table.count * table.width),)
    del buckets
    kept = (Buffer(meter, 8 * pairs),) if grads else ()
    bias = tape.run_op(facts.heads * pairs, setup.weight, (), kept, parameters=grads)
    if states is None:
        return Surroundings(bias)
    width = setup.compute if setup.autocast else max(setup.weight, hidden.width)
    zeros = tape.make_source(float(facts.heads * setup.length * setup.source_length), width)
    return Surroundings(bias, states, zeros)


def checkpoint_stack_layer(tape: Tape, layer: StackLayer, x: Tensor, around: Surroundings) -> Tensor:
    """Run a layer without keeping anything but what it reads, and again in the backward pass."""
    tape.recording = False
    out = layer(tape, x, around)
    tape.recording = True
    x.buffer.relabel("checkpoints")
    read = (x, *around.list_tensors())
    wanted = [one.node is not None for one in read]
    edges = [(one.node, 0.0) for one in read if one.node]
    node = Node(out.count * out.width, edges, x.buffer, 0.0)
    if not edges:
        return Tensor(out.buffer, out.count, out.width, None if not layer.trained else _append(tape, node))
    kept, meter = [x.buffer], tape.meter
    shapes = [(one.buffer if place else None, one.count, one.width) for place, one in enumerate(read)]
    names = [name for name in ("bias", "states", "cross_bias") if getattr(around, name) is not None]

    def redo(incoming: Buffer) -> list[Buffer]:
        inner = Tape(meter)
        inner.again = True
        starts = [
            Node(count * width, [], None, 0.0) if want else None
            for want, (_unused, count, width) in zip(wanted, shapes, strict=True)
        ]
        tensors = [
            Tensor(buffer or kept[0], count, width, start)
            for (buffer, count, width), start in zip(shapes, starts, strict=True)
        ]
        again = layer(inner, tensors[0], Surroundings(**dict(zip(names, tensors[1:], strict=True))))
        del tensors
        meter.cache.clear()
        # torch stops where the last of what is needed is there, and frees the gradient as soon as it is used
        end, handed = Tensor(Buffer(meter, 0.0), again.count, again.width, again.node), [incoming]
        del again, incoming
        inner.backward(end, handed.pop())
        return [start.grad or Buffer(meter, 0.0) for start in starts if start is not None]

    node.redo = redo
    tape.nodes.append(node)
    return Tensor(out.buffer, out.count, out.width, node)


def _append(tape: Tape, node: Node) -> Node:
    tape.nodes.append(node)
    return node


def _simulate_loss(setup: Setup, tape: Tape, holder: list[Tensor], table: Parameter) -> Tensor:
    """Simulate the head at the tokens of the targets, and the cross-entropy."""
    facts, family = setup.facts, setup.facts.family
    hidden = holder.pop()
    tape.meter.kind = HEAD
    if family.scaled_states:
        hidden = tape.run_op(hidden.count, hidden.width, (hidden,))
    rows = setup.total_tokens * setup.supervised
    chosen = tape.run_op(rows * facts.hidden, hidden.width, (hidden,))
    count = rows * facts.vocab
    logits = simulate_head(setup, tape, chosen, count, table)
    if family.logits_bias:
        logits = tape.run_op(count, max(logits.width, setup.embedding), (logits,))
    logits = tape.cast(logits, SINGLE)
    probabilities = Buffer(tape.meter, count * SINGLE)
    scores = tape.run_op(count, SINGLE, (logits,), (probabilities,), view=probabilities)
    result = tape.run_op(1, SINGLE, (scores,))
    del logits, scores, hidden, chosen, probabilities
    return result
