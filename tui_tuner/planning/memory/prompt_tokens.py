"""Virtual tokens: prompt tuning, P-tuning and prefix tuning, as PEFT's `PeftModelForCausalLM` runs them.

Read from PEFT 0.21 (`peft_model.py`, `tuners/p_tuning/model.py`, `tuners/prefix_tuning/model.py`). What is
trained is in float32. Prompt tuning and P-tuning lengthen every sequence (`Setup.length` counts the virtual
tokens); prefix tuning gives every layer keys and values that attention reads before its own.
"""

from __future__ import annotations

import math

from tui_tuner.planning.memory.meter import SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup


def list_trained_shapes(setup: Setup) -> list[tuple[tuple[int, ...], bool]]:
    """Return the shape of each trained tensor outside the layers, and whether it is an embedding."""
    count, hidden, inner = setup.virtual_tokens, setup.facts.hidden, setup.encoder
    if not setup.prefix:
        sides = ((hidden, inner), (inner, inner), (inner, hidden)) if inner else ()
        network = [shape for into, out in sides for shape in ((out, into), (out,))]
        return [((count, hidden), True), *((shape, False) for shape in network)]
    width, out = setup.facts.kv_dim, setup.facts.layers * 2 * setup.facts.kv_dim
    if not inner:
        return []
    network = [(inner, width), (inner,), (out, inner), (out,)]
    return [((count, width), True), *((shape, False) for shape in network)]


def list_prompt_sizes(setup: Setup) -> list[float]:
    """Return the elements of each trained tensor outside the layers."""
    return [float(math.prod(shape)) for shape, _unused in list_trained_shapes(setup)]


def measure_prefix_size(setup: Setup) -> float:
    """Return the elements of a layer's prefix that is trained directly; 0 if a network generates it."""
    # A network makes all layers' prefixes at once; without it each layer's part is trained as it is
    direct = setup.prefix and not setup.encoder
    return float(setup.virtual_tokens * 2 * setup.facts.kv_dim) if direct else 0.0


def prepend_tokens(setup: Setup, tape: Tape, hidden: Tensor) -> Tensor:
    """Simulate `cat((prompts, inputs_embeds))`: the virtual tokens before those of the text.

    Args:
        hidden: Embeddings of text and virtual tokens together, without a gradient.
    """
    rows = float(setup.batch * setup.virtual_tokens)
    parameters = [Parameter(size, SINGLE) for size in list_prompt_sizes(setup)]
    tape.meter.held += parameters
    table, *network = parameters
    # PEFT keeps its prompt encoder in float32; only autocast computes it in 16 bits
    width = setup.compute if setup.autocast else SINGLE
    prompts = tape.run_op(rows * setup.facts.hidden, SINGLE, (), parameters=((table, table.count * SINGLE),))
    widths = (setup.encoder, setup.encoder, setup.facts.hidden)
    for index, (weight, bias) in enumerate(zip(network[::2], network[1::2], strict=True)):
        grads = ((weight, weight.count * width), (bias, bias.count * width))
        prompts = tape.cast(prompts, width)
        saved = [prompts.buffer]
        if width != SINGLE:
            saved.append(Buffer(tape.meter, weight.count * width, "16-bit copies of weights"))
            tape.meter.cache.append(saved[-1])
        prompts = tape.run_op(rows * widths[index], width, (prompts,), tuple(saved), parameters=grads)
        if index < 2:  # ReLU keeps its result
            kept = Buffer(tape.meter, prompts.count * width)
            prompts = tape.run_op(prompts.count, width, (prompts,), (kept,), view=kept)
    return tape.run_op(hidden.count, hidden.width, (tape.cast(prompts, hidden.width),))


def simulate_lengthened_keys(setup: Setup, tape: Tape, part: Tensor, prefix: Parameter | None) -> Tensor:
    """Simulate `DynamicCache.update`: a layer's keys (or values) after those of its prefix."""
    count = float(setup.batch * setup.virtual_tokens * setup.facts.kv_dim)
    if prefix is None:  # the network's output, whose gradient waits for all layers
        past = tape.make_source(count, part.width, grad=True)
    else:
        held = Buffer(tape.meter, count * part.width)  # a view of what holds the prefixes of all layers
        tape.meter.held.append(held)
        past = tape.run_op(
            count, part.width, (), parameters=((prefix, prefix.count * SINGLE / 2),), view=held
        )
    return tape.run_op(part.count + count, part.width, (past, part))
