"""From the last layer to the loss and its gradient: where large vocabularies peak."""

from __future__ import annotations

from tui_tuner.planning.memory.deciding import decide
from tui_tuner.planning.memory.meter import HALF, HEAD, SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.ops import norm
from tui_tuner.planning.memory.setup import Setup

TILE_TOKENS, TILE_VOCABULARY = 4096, 32768  # TRL 1.16's fused head works in tiles of this size


def loss(setup: Setup, tape: Tape, holder: list[Tensor], table: Parameter) -> tuple[Tensor, Buffer | None]:
    """Final norm, head and cross-entropy.

    Args:
        holder: The last layer's output, which is taken out of the list so that nobody else holds it.
        table: The embeddings, which the head shares where they are tied.

    Returns:
        The tensor that the backward pass starts from, and its gradient (None makes one).
    """
    hidden = holder.pop()
    if not (setup.facts.encoder and setup.facts.family.norm_bias):
        final = Parameter(setup.facts.hidden, setup.norm) if setup.method == "full" else None
        hidden = norm(tape, hidden, setup, final)
    tape.meter.kind = HEAD
    if setup.head:
        holder.append(hidden)
        del hidden
        return decide(setup, tape, holder.pop()), None
    if setup.logits == "tiled":
        return _tiled(setup, tape, hidden)
    if setup.logits == "supervised" and 0 < setup.chunk < setup.tokens * setup.supervised:
        holder.append(hidden)
        del hidden
        return _chunked(setup, tape, holder, table), None
    return _plain(setup, tape, hidden, table)


def _plain(setup: Setup, tape: Tape, hidden: Tensor, table: Parameter) -> tuple[Tensor, Buffer | None]:
    facts, stack = setup.facts, setup.stack
    rows = float(setup.tokens)
    chosen = hidden
    if setup.logits == "supervised":
        rows *= setup.supervised
        chosen = tape.op(rows * facts.hidden, hidden.width, (hidden,), extra=0.0)
    count = rows * facts.vocab
    logits = head(setup, tape, chosen, count, table)
    if facts.family.scaled_logits:
        logits = tape.op(count, logits.width, (logits,))
    if facts.family.softcap:
        logits = _softcap(tape, logits)
    half = logits.buffer
    logits = tape.cast(logits, SINGLE)
    if not stack.keeps_half_logits or setup.logits == "supervised":
        half = logits.buffer
    scores = logits
    if stack.shifts_logits and setup.logits in ("full", "kept"):
        scores = tape.op(count, SINGLE, (logits,))
    probabilities = Buffer(tape.meter, count * SINGLE)
    scores = tape.op(count, SINGLE, (scores,), (probabilities,), view=probabilities)
    result = tape.op(1, SINGLE, (scores,))
    kept = (half, logits.buffer) if setup.logits == "kept" and not stack.keeps_half_logits else (half,)
    del logits, scores, half, hidden, chosen, probabilities
    if setup.logits == "kept":
        tape.held = kept
    del kept
    return result, None


def _chunked(setup: Setup, tape: Tape, holder: list[Tensor], table: Parameter) -> Tensor:
    """`training.chunked_loss`: loss and gradients of a few positions at a time, in the forward pass.

    At its peak a chunk's logits and log-softmax are in float32 beside the probabilities of the chunk before,
    in float32 and in the width of the weights. The last of two chunks may be a small one.
    """
    facts, meter = setup.facts, tape.meter
    width = setup.compute if setup.autocast else setup.embedding
    weights = float(facts.vocab * facts.hidden)
    hidden = holder.pop()
    chosen = tape.op(setup.tokens * setup.supervised * facts.hidden, hidden.width, (hidden,))
    meter.cache.clear()  # autocast ends with the hidden states
    del hidden
    chosen = tape.cast(chosen, width)
    copy = Buffer(meter, weights * width, "16-bit copies of weights") if setup.embedding != width else None
    kept = [Buffer(meter, chosen.count * width)]
    chunk = float(setup.chunk * facts.vocab)
    grads: tuple[tuple[Parameter, float], ...] = ()
    if setup.method == "full" or setup.train_embeddings:
        own = table if facts.tied else Parameter(weights, setup.embedding)
        meter.held.append(own)
        grads = ((own, weights * width),)
        kept.append(Buffer(meter, weights * SINGLE))
        product = Buffer(meter, weights * width + chunk * (SINGLE + width))
        del product
    beside = min(chunk, setup.tokens * setup.supervised * facts.vocab - chunk)
    temporary = Buffer(meter, max(chunk * 2 * SINGLE, beside * 2 * SINGLE + chunk * (SINGLE + width)))
    del temporary, copy
    summed = weights * SINGLE if grads else 0.0
    return tape.op(1, SINGLE, (chosen,), tuple(kept), parameters=grads, extra=summed)


def head(setup: Setup, tape: Tape, hidden: Tensor, count: float, table: Parameter) -> Tensor:
    """`lm_head`: frozen under an adapter, trained under full fine-tuning."""
    width = setup.compute if setup.autocast else max(setup.embedding, hidden.width)
    inner = tape.cast(hidden, width)
    facts = setup.facts
    weights = float(facts.vocab * facts.hidden)
    saved: list[Buffer] = []
    grads: tuple[tuple[Parameter, float], ...] = ()
    if setup.method == "full" or setup.train_embeddings:
        saved.append(inner.buffer)
        own = table if facts.tied else Parameter(weights, setup.embedding)
        tape.meter.held.append(own)
        grads = ((own, weights * width),)
    if setup.embedding != width:
        saved.append(Buffer(tape.meter, weights * width, "16-bit copies of weights"))
    return tape.op(count, width, (inner,), tuple(saved), parameters=grads)


def _softcap(tape: Tape, logits: Tensor) -> Tensor:
    """`tanh(logits / cap) * cap` (Gemma 2)."""
    logits = tape.op(logits.count, logits.width, (logits,))
    bent = Buffer(tape.meter, logits.count * logits.width)
    logits = tape.op(logits.count, logits.width, (logits,), (bent,), view=bent)
    return tape.op(logits.count, logits.width, (logits,))


def _tiled(setup: Setup, tape: Tape, hidden: Tensor) -> tuple[Tensor, Buffer | None]:
    """A fused head: one tile of logits, and about 10 bytes of hidden state a trained token."""
    facts = setup.facts
    rows = setup.tokens * setup.supervised
    tile = Buffer(tape.meter, min(rows, TILE_TOKENS) * min(facts.vocab, TILE_VOCABULARY) * HALF)
    state = Buffer(tape.meter, rows * facts.hidden * 10)
    if setup.method == "full" or setup.train_embeddings:
        state = Buffer(tape.meter, SINGLE * float(facts.vocab * facts.hidden) + state.size)
    result = tape.op(rows, SINGLE, (hidden,), (state,))
    del tile
    return result, None
