"""Attention, line by line as in transformers' modelling code."""

from __future__ import annotations

from tui_tuner.compute.attention.kernel_choice import AttentionNeed, Kernel, KernelMeans, choose_kernel
from tui_tuner.models.device import Device
from tui_tuner.models.facts import ModelFacts
from tui_tuner.planning.memory.meter import HALF, SINGLE, Buffer, Tape, Tensor
from tui_tuner.planning.memory.ops import (
    simulate_dropout,
    simulate_fused_rotation,
    simulate_norm,
    simulate_plain_rotation,
)
from tui_tuner.planning.memory.parts import LayerParts
from tui_tuner.planning.memory.prompt_tokens import simulate_lengthened_keys
from tui_tuner.planning.memory.setup import Setup
from tui_tuner.planning.memory.stack import Stack

EFFICIENT = "efficient"  # one kernel for a flat row that takes views, and keys for every head
APART = "apart"  # a kernel for each sequence of a flat row, whose results are put side by side


def simulate_attention(layer: LayerParts, tape: Tape, x: Tensor) -> Tensor:
    """Simulate projections, rotation, attention and the output projection of one layer."""
    # Names are rebound at each line as in the modelling code: an old tensor dies where the name is reused
    query, key, value = _project_inputs(layer, tape, x)
    if not layer.family.learned_positions:
        turn = simulate_fused_rotation if layer.setup.quick else simulate_plain_rotation
        query, key = turn(tape, query), turn(tape, key)
    if layer.setup.prefix:
        key, value = (
            simulate_lengthened_keys(layer.setup, tape, part, layer.prefix) for part in (key, value)
        )
    out = simulate_attention_kernel(layer, tape, query, key, value)
    if layer.setup.keep_cache:
        tape.meter.held.append(Buffer(tape.meter, key.count * key.width + value.count * value.width))
    query = key = value = x
    return layer.run_linear(tape, out, layer.output_name())


def _project_inputs(layer: LayerParts, tape: Tape, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    facts, names = layer.setup.facts, layer.family.attention
    query_count, kv_count = layer.tokens * facts.query_dim, layer.tokens * facts.kv_dim
    if facts.low_rank_key:
        return _project_latent(layer, tape, x)
    if len(names) == 2:
        fused = layer.run_linear(tape, x, names[0])
        parts = [
            tape.run_op(count, fused.width, (fused,), view=fused.buffer)
            for count in (query_count, kv_count, kv_count)
        ]
        return parts[0], parts[1], parts[2]
    query = layer.run_linear(tape, x, names[0])
    if layer.family.qk_norm:
        query = simulate_norm(tape, query, layer.setup, layer.query_norm)
    key = layer.run_linear(tape, x, names[1])
    if layer.family.qk_norm:
        key = simulate_norm(tape, key, layer.setup, layer.key_norm)
    value = layer.run_linear(tape, x, names[2])
    return query, key, value


def _project_latent(layer: LayerParts, tape: Tape, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    facts = layer.setup.facts
    if facts.low_rank_query:
        low = simulate_norm(tape, layer.run_linear(tape, x, "q_a_proj"), layer.setup, layer.low_norms[0])
        query = layer.run_linear(tape, low, "q_b_proj")
    else:
        query = layer.run_linear(tape, x, "q_proj")
    packed = layer.run_linear(tape, x, "kv_a_proj_with_mqa")
    both = layer.run_linear(tape, simulate_norm(tape, packed, layer.setup, layer.low_norms[1]), "kv_b_proj")
    key = tape.run_op(layer.tokens * facts.query_dim, both.width, (both,))  # cat with the rotated part
    value = tape.run_op(layer.tokens * facts.heads * facts.value_dim, both.width, (both,), view=both.buffer)
    return query, key, value


def simulate_attention_kernel(
    layer: LayerParts, tape: Tape, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """Simulate the attention product itself: fused kernels with or without a mask, or eager."""
    setup, facts = layer.setup, layer.setup.facts
    # These kernels take 16 bits only, and under autocast norms of queries and keys return float32
    if query.width == SINGLE and setup.compute == HALF and setup.attention in ("flash", APART):
        query, key, value = (tape.cast(part, HALF) for part in (query, key, value))
    if setup.attention == "eager":
        return _run_eager(layer, tape, query, key, value)
    apart, views = setup.attention == APART, _needs_views(setup, query)
    if setup.is_flat and not (
        apart or views
    ):  # flash attention over sequences of unequal length takes no views
        query, key, value = (simulate_contiguous_copy(tape, part) for part in (query, key, value))
    if setup.expand_keys or views:
        key, value = simulate_expanded_heads(layer, tape, key), simulate_expanded_heads(layer, tape, value)
    mask = 0.0
    if setup.attention == "masked":
        mask = setup.score_pairs * query.width
    heads = layer.tokens * facts.heads
    out_count = query.count if not facts.value_dim else heads * facts.value_dim
    out = simulate_fused_kernel(tape, query, key, value, heads, out_count, mask)
    return tape.run_op(out.count, out.width, (), same=(out,)) if apart else out


def _needs_views(setup: Setup, query: Tensor) -> bool:
    """Return whether a flat row uses PyTorch's memory-efficient attention, for which keys are repeated."""
    if setup.attention == EFFICIENT:
        return True
    unfit = query.width == SINGLE or setup.facts.attention_dropout > 0  # for flash attention
    return setup.is_flat and setup.attention == "flash" and unfit


def choose_simulated_attention(
    facts: ModelFacts, device: Device, stack: Stack, dtype: str
) -> tuple[str, bool]:
    """Return how this program's core computes attention of flat rows: `Setup.attention`, and whether keys
    and values are repeated for all heads.

    Args:
        dtype: Of queries, keys and values.
    """
    need = AttentionNeed(
        dtype=dtype,
        head_dim=facts.head_dim,
        value_dim=facts.value_dim or facts.head_dim,
        heads=facts.heads,
        key_heads=facts.heads if facts.low_rank_key else facts.kv_heads,
        dropout=facts.attention_dropout > 0,
        cap=facts.family.softcap,
    )
    means = find_torch_means(stack)
    kernel, _passed = choose_kernel(need, device, means)
    repeats = kernel is Kernel.VARLEN and "enable_gqa" not in means.varlen
    return _KINDS.get(kernel, "flash"), repeats and need.heads != need.key_heads


def find_torch_means(stack: Stack) -> KernelMeans:
    """Return torch's means for attention, by its version; the signature of its `varlen_attn` grew."""
    grown = [("is_causal", 10), ("window_size", 11), ("scale", 11), ("enable_gqa", 13)]
    names = {name for name, minor in grown if stack.at_least("torch", 2, minor)}
    efficient = frozenset({"cu_seqlens_q", "cu_seqlens_k", "custom_mask_type", "scale", "window_size"})
    return KernelMeans(varlen=frozenset(names), efficient=efficient, triton=True)


_KINDS = {Kernel.EACH: APART, Kernel.EFFICIENT: EFFICIENT, Kernel.PADDED: EFFICIENT, Kernel.SCORES: "eager"}


def simulate_contiguous_copy(tape: Tape, part: Tensor) -> Tensor:
    """Copy a view of a larger tensor into one of its own (`contiguous`)."""
    own = part.buffer.size <= part.count * part.width
    return part if own else tape.run_op(part.count, part.width, (part,))


def simulate_expanded_heads(layer: LayerParts, tape: Tape, part: Tensor) -> Tensor:
    """Simulate repeating keys or values for all heads that share them."""
    facts = layer.setup.facts
    # Latent attention makes keys for every head, so there is nothing to repeat
    shared = 1 if facts.low_rank_key else facts.heads // facts.kv_heads
    return part if shared == 1 else tape.run_op(part.count * shared, part.width, (part,))


def simulate_fused_kernel(
    tape: Tape, query: Tensor, key: Tensor, value: Tensor, heads: float, out_count: float, mask: float = 0.0
) -> Tensor:
    """Simulate a kernel that keeps inputs, result and a float32 row sum (FlashAttention 2, flex attention).

    Args:
        heads: Tokens times heads.
        out_count: Elements of the result.
        mask: Bytes of a mask that is kept too.
    """
    saved = [query.buffer, key.buffer, value.buffer, Buffer(tape.meter, SINGLE * heads)]
    if mask:
        saved.append(Buffer(tape.meter, mask))
    # FlashAttention 2's backward pass accumulates dq in float32 and keeps a float32 row sum
    extra = SINGLE * (query.count + heads)
    if key.count < query.count:
        extra += 2 * query.count * query.width  # dk and dv of all heads, before they are summed
    out = Buffer(tape.meter, out_count * query.width)
    saved.append(out)
    return tape.run_op(out_count, query.width, (query, key, value), tuple(saved), extra=extra, view=out)


def _run_eager(layer: LayerParts, tape: Tape, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Simulate `eager_attention_forward`: scores written out, softmax in float32."""
    setup = layer.setup
    key, value = simulate_expanded_heads(layer, tape, key), simulate_expanded_heads(layer, tape, value)
    count = setup.facts.heads * setup.score_pairs
    # matmul is on autocast's 16-bit list, softmax on its float32 list
    width = HALF if setup.autocast else query.width
    scores = tape.run_op(count, width, (query, key), (query.buffer, key.buffer))
    scores = tape.run_op(count, width, (scores,))
    if layer.family.softcap:  # tanh(scores / cap) * cap
        bent = Buffer(tape.meter, count * width)
        scores = tape.run_op(count, width, (scores,), (bent,), view=bent)
        del bent
        scores = tape.run_op(count, width, (scores,))
    scores = tape.run_op(count, width, (), same=(scores,))
    soft = Buffer(tape.meter, count * SINGLE)
    weights = tape.run_op(count, SINGLE, (scores,), (soft,), view=soft)
    del scores, soft
    weights = simulate_dropout(tape, tape.cast(weights, width), setup.facts.attention_dropout)
    out = tape.run_op(query.count, width, (weights, value), (weights.buffer, value.buffer))
    return tape.run_op(query.count, width, (out,))
