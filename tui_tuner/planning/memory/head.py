"""From the last layer to the loss and its gradient: large vocabularies peak there, heads that decide do not.

The latter give few numbers, over hidden states of every position, as transformers writes
`…ForSequenceClassification` and its kin. A head that reads one state of each text gets nothing else of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tui_tuner.methods.numbers.terms import Form
from tui_tuner.models.architectures.family import Linear
from tui_tuner.models.architectures.heads import HeadPart
from tui_tuner.planning.memory.meter import HALF, HEAD, SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import simulate_dropout, simulate_norm
from tui_tuner.planning.memory.setup import Setup

TILE_TOKENS, TILE_VOCABULARY = 4096, 32768  # TRL 1.16's fused head works in tiles of this size
SPAN_HEAD = "qa_outputs"


def simulate_loss(
    setup: Setup, tape: Tape, holder: list[Tensor], table: Parameter
) -> tuple[Tensor, Buffer | None]:
    """Simulate the final norm, the head and cross-entropy.

    Args:
        holder: The last layer's output, which is taken out of the list, so that nothing else holds it.
        table: The embeddings, which the head shares where they are tied.

    Returns:
        The tensor that the backward pass starts from, and its gradient (None makes one).
    """
    hidden = holder.pop()
    if not (setup.facts.encoder and setup.facts.family.norm_bias):
        final = Parameter(setup.facts.hidden, setup.norm) if setup.whole_model else None
        if setup.form is Form.NORMS:
            final = Parameter(setup.facts.hidden, setup.adapter)
        hidden = simulate_norm(tape, hidden, setup, final)
    tape.meter.kind = HEAD
    if setup.head:
        holder.append(hidden)
        del hidden
        return simulate_deciding_head(setup, tape, holder.pop()), None
    # Kernels that never write all logits
    if setup.logits == "tiled":
        return _run_tiled(setup, tape, hidden)
    if setup.logits == "supervised" and 0 < setup.chunk < setup.total_tokens * setup.supervised:
        holder.append(hidden)
        del hidden
        return _run_chunked(setup, tape, holder, table), None
    return _run_plain(setup, tape, hidden, table)


def _run_plain(setup: Setup, tape: Tape, hidden: Tensor, table: Parameter) -> tuple[Tensor, Buffer | None]:
    facts, stack = setup.facts, setup.stack
    rows = float(setup.total_tokens)
    chosen = hidden
    if setup.logits == "supervised":
        rows *= setup.supervised
        chosen = tape.run_op(rows * facts.hidden, hidden.width, (hidden,), extra=0.0)
    if setup.hides:
        chosen = _transform_states(setup, tape, chosen)
    count = rows * facts.vocab
    logits = simulate_head(setup, tape, chosen, count, table)
    if facts.family.scaled_logits:
        logits = tape.run_op(count, logits.width, (logits,))
    if facts.family.softcap:
        logits = _cap_logits(tape, logits)
    half = logits.buffer
    logits = tape.cast(logits, SINGLE)
    if not stack.keeps_half_logits or setup.logits == "supervised":
        half = logits.buffer
    scores = logits
    if stack.shifts_logits and setup.logits in ("full", "kept"):
        scores = tape.run_op(count, SINGLE, (logits,))
    probabilities = Buffer(tape.meter, count * SINGLE)
    scores = tape.run_op(count, SINGLE, (scores,), (probabilities,), view=probabilities)
    result = tape.run_op(1, SINGLE, (scores,))
    # A loop that holds on to its outputs keeps both versions until the next step
    kept = (half, logits.buffer) if setup.logits == "kept" and not stack.keeps_half_logits else (half,)
    del logits, scores, half, hidden, chosen, probabilities
    if setup.logits == "kept":
        tape.held = kept
    del kept
    return result, None


def _transform_states(setup: Setup, tape: Tape, chosen: Tensor) -> Tensor:
    """Simulate what an encoder's head does with states before it guesses: a dense layer, GELU, a norm."""
    facts = setup.facts
    wide = facts.embedding_width
    part = HeadPart(Linear("transform", facts.hidden, wide, facts.family.norm_bias))
    state = _run_product(setup, tape, chosen, part)
    del chosen
    state = tape.run_op(state.count, state.width, (state,), (state.buffer,))
    norm = _make_parameter(tape, setup, float(wide), setup.whole_model)
    return simulate_norm(tape, state, setup, norm)


def _run_chunked(setup: Setup, tape: Tape, holder: list[Tensor], table: Parameter) -> Tensor:
    """Simulate `training.chunked_loss`: loss and gradients by chunks of positions, in the forward pass.

    At its peak a chunk's logits and log-softmax are in float32 next to the probabilities of the chunk before,
    in float32 and in the width of the weights. The last of two chunks may be a small one.
    """
    facts, meter = setup.facts, tape.meter
    width = setup.compute if setup.autocast else setup.embedding
    weights = float(facts.vocab * facts.hidden)
    hidden = holder.pop()
    chosen = tape.run_op(setup.total_tokens * setup.supervised * facts.hidden, hidden.width, (hidden,))
    meter.cache.clear()  # autocast ends with the hidden states
    del hidden
    chosen = tape.cast(chosen, width)
    # Made once and used by all chunks
    copy = Buffer(meter, weights * width, "16-bit copies of weights") if setup.embedding != width else None
    kept = [Buffer(meter, chosen.count * width)]
    chunk = float(setup.chunk * facts.vocab)
    grads: tuple[tuple[Parameter, float], ...] = ()
    if setup.trains_table or setup.trains_head:
        own = table if facts.tied else Parameter(weights, setup.embedding)
        meter.held.append(own)
        grads = ((own, weights * width),)
        kept.append(Buffer(meter, weights * SINGLE))
        # The gradient of the head is summed over chunks in float32, each chunk's product made in the weights'
        # width first
        product = Buffer(meter, weights * width + chunk * (SINGLE + width))
        del product
    beside = min(chunk, setup.total_tokens * setup.supervised * facts.vocab - chunk)
    temporary = Buffer(meter, max(chunk * 2 * SINGLE, beside * 2 * SINGLE + chunk * (SINGLE + width)))
    del temporary, copy
    summed = weights * SINGLE if grads else 0.0
    return tape.run_op(1, SINGLE, (chosen,), tuple(kept), parameters=grads, extra=summed)


def simulate_head(setup: Setup, tape: Tape, hidden: Tensor, count: float, table: Parameter) -> Tensor:
    """Simulate `lm_head`: frozen under an adapter, trained under full fine-tuning."""
    width = setup.compute if setup.autocast else max(setup.embedding, hidden.width)
    inner = tape.cast(hidden, width)
    facts = setup.facts
    weights = float(facts.vocab * facts.embedding_width)
    saved: list[Buffer] = []
    grads: tuple[tuple[Parameter, float], ...] = ()
    if setup.trains_table or setup.trains_head:
        saved.append(inner.buffer)
        own = table if facts.tied else Parameter(weights, setup.embedding)
        tape.meter.held.append(own)
        grads = ((own, weights * width),)
    if setup.embedding != width:
        copy = Buffer(tape.meter, weights * width, "16-bit copies of weights")
        # it is kept for the gradient of what the head reads, which nobody asks for where all below is frozen
        (saved if setup.trained_layers or setup.trains_table else tape.meter.cache).append(copy)
        del copy
    return tape.run_op(count, width, (inner,), tuple(saved), parameters=grads)


def _cap_logits(tape: Tape, logits: Tensor) -> Tensor:
    """Simulate `tanh(logits / cap) * cap` (Gemma 2)."""
    logits = tape.run_op(logits.count, logits.width, (logits,))
    bent = Buffer(tape.meter, logits.count * logits.width)
    logits = tape.run_op(logits.count, logits.width, (logits,), (bent,), view=bent)
    return tape.run_op(logits.count, logits.width, (logits,))


def _run_tiled(setup: Setup, tape: Tape, hidden: Tensor) -> tuple[Tensor, Buffer | None]:
    """Simulate a fused head: one tile of logits, and about 10 bytes of hidden state per trained token."""
    facts = setup.facts
    rows = setup.total_tokens * setup.supervised
    tile = Buffer(tape.meter, min(rows, TILE_TOKENS) * min(facts.vocab, TILE_VOCABULARY) * HALF)
    state = Buffer(tape.meter, rows * facts.hidden * 10)
    if setup.trains_table or setup.trains_head:
        state = Buffer(tape.meter, SINGLE * float(facts.vocab * facts.hidden) + state.size)
    result = tape.run_op(rows, SINGLE, (hidden,), (state,))
    del tile
    return result, None


def list_tensor_shapes(part: HeadPart) -> Iterator[tuple[int, ...]]:
    """Return the shape of each tensor of a module."""
    if part.norm:
        yield (part.norm,)
        return
    yield (part.matrix.outputs, part.matrix.inputs)
    if part.matrix.bias:
        yield (part.matrix.outputs,)


def list_tensor_sizes(part: HeadPart) -> Iterator[float]:
    """Return the elements of each tensor of a module."""
    return (float(math.prod(shape)) for shape in list_tensor_shapes(part))


def is_head_module_trained(setup: Setup, part: HeadPart) -> bool:
    """Return whether a module of the head is trained."""
    return setup.whole_model or part in setup.head_whole


def simulate_deciding_head(setup: Setup, tape: Tape, hidden: Tensor) -> Tensor:
    """Simulate the outputs and their loss; return the tensor that the backward pass starts from.

    Args:
        hidden: The last states, [tokens, width]; a caller that holds on to them keeps them.
    """
    facts, last = setup.facts, setup.head[-1]
    state = hidden
    del hidden
    if any(part.first for part in setup.head) or (not facts.encoder and _of_text(last)):
        # gathered: a gradient for every position is made of those of the chosen ones
        state = tape.run_op(float(setup.batch * facts.hidden), state.width, (state,))
    # transformers' question-answering heads have no dropout
    elif last.matrix.name != SPAN_HEAD:
        state = simulate_dropout(tape, state, facts.dropout)
    for place, part in enumerate(setup.head):
        if part.norm:
            parameter = _make_parameter(tape, setup, float(part.norm), is_head_module_trained(setup, part))
            state = simulate_norm(tape, state, setup, parameter)
            continue
        state = _run_product(setup, tape, state, part)
        if place < len(setup.head) - 1:  # tanh or GELU keeps as much as it gives
            kept = Buffer(tape.meter, state.count * state.width)
            state = tape.run_op(state.count, state.width, (state,), (kept,), view=kept)
            del kept
    logits = tape.cast(state, SINGLE)
    # log_softmax keeps its result, as large as the few logits
    kept = Buffer(tape.meter, logits.count * SINGLE)
    scores = tape.run_op(logits.count, SINGLE, (logits,), (kept,), view=kept)
    return tape.run_op(1, SINGLE, (scores,))


def _of_text(part: HeadPart) -> bool:
    """Return whether a decoder's head reads whole texts, and needs only the last state of each."""
    return part.matrix.name == "score" and not part.matrix.bias


def _make_parameter(tape: Tape, setup: Setup, count: float, trained: bool) -> Parameter | None:
    if not trained:
        return None
    found = Parameter(count, setup.embedding)
    tape.meter.held.append(found)
    return found


def _run_product(setup: Setup, tape: Tape, state: Tensor, part: HeadPart) -> Tensor:
    """Simulate a linear layer of the head, which is never quantised."""
    matrix: Linear = part.matrix
    width = setup.compute if setup.autocast else max(setup.embedding, state.width)
    inner = tape.cast(state, width)
    grads: tuple[tuple[Parameter, float], ...] = ()
    saved: list[Buffer] = []
    if is_head_module_trained(setup, part):
        sizes = list_tensor_sizes(part)
        made = [_make_parameter(tape, setup, size, True) for size in sizes]
        grads = tuple((one, one.count * width) for one in made if one is not None)
        saved.append(inner.buffer)
    if setup.embedding != width:
        saved.append(Buffer(tape.meter, matrix.weights * width, "16-bit copies of weights"))
    return tape.run_op(
        inner.count / matrix.inputs * matrix.outputs, width, (inner,), tuple(saved), parameters=grads
    )
