"""Virtual tokens: prompt tuning, P-tuning and prefix tuning, as PEFT's `PeftModelForCausalLM` runs them.

Read from PEFT 0.21 (`peft_model.py`, `tuners/p_tuning/model.py`, `tuners/prefix_tuning/model.py`). What is
trained is in float32. Prompt tuning and P-tuning lengthen every sequence (`Setup.length` counts the virtual
tokens); prefix tuning gives every layer keys and values that attention reads before its own.
"""

from __future__ import annotations

from tui_tuner.planning.memory.meter import SINGLE, Buffer, Parameter, Tape, Tensor
from tui_tuner.planning.memory.setup import Setup

PREFIX = "prefix_tuning"


def trained_sizes(setup: Setup) -> list[float]:
    """Elements of each trained tensor beside those that every layer has."""
    count, hidden, inner = setup.virtual_tokens, setup.facts.hidden, setup.encoder
    if setup.method == "prompt_tuning":
        return [float(count * hidden)]
    if setup.method == "p_tuning":
        sides = ((hidden, inner), (inner, inner), (inner, hidden))
        return [float(count * hidden)] + [float(size) for into, out in sides for size in (into * out, out)]
    width, out = setup.facts.kv_dim, setup.facts.layers * 2 * setup.facts.kv_dim
    if not inner:
        return []
    return [float(size) for size in (count * width, width * inner, inner, inner * out, out)]


def layer_size(setup: Setup) -> float:
    """Elements of one layer's prefix where it is trained as it is; 0 where a network makes it."""
    direct = setup.method == PREFIX and not setup.encoder
    return float(setup.virtual_tokens * 2 * setup.facts.kv_dim) if direct else 0.0


def prepend(setup: Setup, tape: Tape, hidden: Tensor) -> Tensor:
    """`cat((prompts, inputs_embeds))`: the virtual tokens before those of the text.

    Args:
        hidden: Embeddings of text and virtual tokens together, without a gradient.
    """
    rows = float(setup.batch * setup.virtual_tokens)
    parameters = [Parameter(size, SINGLE) for size in trained_sizes(setup)]
    tape.meter.held += parameters
    table, *network = parameters
    width = setup.compute if setup.autocast else SINGLE
    prompts = tape.op(rows * setup.facts.hidden, SINGLE, (), parameters=((table, table.count * SINGLE),))
    widths = (setup.encoder, setup.encoder, setup.facts.hidden)
    for index, (weight, bias) in enumerate(zip(network[::2], network[1::2], strict=True)):
        grads = ((weight, weight.count * width), (bias, bias.count * width))
        prompts = tape.cast(prompts, width)
        saved = [prompts.buffer]
        if width != SINGLE:
            saved.append(Buffer(tape.meter, weight.count * width, "16-bit copies of weights"))
            tape.meter.cache.append(saved[-1])
        prompts = tape.op(rows * widths[index], width, (prompts,), tuple(saved), parameters=grads)
        if index < 2:  # ReLU keeps its result
            kept = Buffer(tape.meter, prompts.count * width)
            prompts = tape.op(prompts.count, width, (prompts,), (kept,), view=kept)
    return tape.op(hidden.count, hidden.width, (tape.cast(prompts, hidden.width),))


def lengthen(setup: Setup, tape: Tape, part: Tensor, prefix: Parameter | None) -> Tensor:
    """`DynamicCache.update`: a layer's keys (or values) behind those of its prefix."""
    count = float(setup.batch * setup.virtual_tokens * setup.facts.kv_dim)
    if prefix is None:  # the network's output, whose gradient waits for all layers
        past = tape.source(count, part.width, grad=True)
    else:
        held = Buffer(tape.meter, count * part.width)  # a view of what holds the prefixes of all layers
        tape.meter.held.append(held)
        past = tape.op(count, part.width, (), parameters=((prefix, prefix.count * SINGLE / 2),), view=held)
    return tape.op(part.count + count, part.width, (past, part))
