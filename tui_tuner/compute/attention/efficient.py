"""PyTorch's memory-efficient attention over all sequences of a flat row in one call.

It takes what flash attention does not: float32, GPUs before Ampere, wide heads, dropout. PyTorch reaches the
operator for sequences through jagged tensors, without windows and without queries that are fewer than their
keys; called directly it knows both, and its own formula for gradients leaves the window out, so both passes
are called here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from tui_tuner.compute.attention.spans import Ask, Spans, by_token

ALIGNED = 8  # numbers: what a head is filled up to a multiple of
NO_MASK, CAUSAL_AT_THE_END = 0, 2  # of the operator: with fewer queries than keys, the last ones meet


@cache
def efficient_takes() -> frozenset[str]:
    """Names of the operator's arguments; empty where the installed torch has no such operator."""
    try:
        forward = torch.ops.aten._efficient_attention_forward.default._schema
        backward = torch.ops.aten._efficient_attention_backward.default._schema
    except (AttributeError, RuntimeError):
        return frozenset()
    names = [{argument.name for argument in schema.arguments} for schema in (forward, backward)]
    return frozenset(names[0] & (names[1] | {"max_seqlen_q", "max_seqlen_k", "compute_log_sumexp"}))


def attend_efficient(
    query: Any,
    key: Any,
    value: Any,
    spans: Spans,
    ask: Ask,
    forward: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Any:
    """Attention of [1, heads, tokens, head_dim]; returns [1, tokens, heads, value_dim].

    Args:
        forward, backward: The operators; other functions with their arguments where none is there.
    """
    heads, head_dim, value_dim = query.shape[1], query.shape[-1], value.shape[-1]
    scale = head_dim**-0.5 if ask.scaling is None else ask.scaling
    width = -(-head_dim // ALIGNED) * ALIGNED
    value_width = -(-value_dim // ALIGNED) * ALIGNED
    calls = (
        forward or torch.ops.aten._efficient_attention_forward,
        backward or torch.ops.aten._efficient_attention_backward,
    )
    out = _Efficient.apply(
        _even(by_token(query, width=width)[None]),
        _even(by_token(key, spans.places, heads, width)[None]),
        _even(by_token(value, spans.places, heads, value_width)[None]),
        spans,
        ask,
        scale,
        calls,
    )
    return out[..., :value_dim]


def _even(tensor: Any) -> Any:
    """The same, laid anew where heads begin at an odd place, as those of a fused projection may."""
    even = tensor.stride(-1) == 1 and all(stride % ALIGNED == 0 for stride in tensor.stride()[1:-1])
    return tensor if even and tensor.storage_offset() % ALIGNED == 0 else tensor.contiguous()


class _Efficient(torch.autograd.Function):
    """Both passes of the operator, with the window in each."""

    @staticmethod
    def forward(
        ctx: Any, query: Any, key: Any, value: Any, spans: Spans, ask: Ask, scale: float, calls: Any
    ) -> Any:
        options: dict[str, Any] = {"scale": scale}
        if ask.window is not None:
            options["window_size"] = ask.window
        mask = CAUSAL_AT_THE_END if ask.causal else NO_MASK
        bounds = (spans.query_bounds, spans.key_bounds)
        longest = (spans.longest_query, spans.longest_key)
        out, sums, seed, offset, *_ = calls[0](
            query, key, value, None, *bounds, *longest, ask.dropout, mask, True, **options
        )
        ctx.save_for_backward(query, key, value, out, *bounds, sums, seed, offset)
        ctx.rest = (longest, ask.dropout, mask, options, calls[1])
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, out, query_bounds, key_bounds, sums, seed, offset = ctx.saved_tensors
        longest, dropout, mask, options, call = ctx.rest
        found = call(
            gradients[0].contiguous(),
            query,
            key,
            value,
            None,
            out,
            query_bounds,
            key_bounds,
            *longest,
            sums,
            dropout,
            seed,
            offset,
            mask,
            False,
            **options,
        )
        return (*found[:3], None, None, None, None)
