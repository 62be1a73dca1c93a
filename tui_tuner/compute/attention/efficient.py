"""PyTorch's memory-efficient attention over all sequences of a flat row in one call.

It supports what flash attention does not: float32, GPUs before Ampere, wide heads, dropout. PyTorch calls
the operator for sequences through jagged tensors only, without windows and without fewer queries than keys.
Called directly it supports both. Its autograd formula ignores the window, so both passes are called here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from tui_tuner.compute.attention.spans import AttentionAsk, Spans, lay_heads_by_token

if TYPE_CHECKING:
    from torch import Tensor

ALIGNED = 8  # elements; the width of a head is padded to a multiple of it
NO_MASK, CAUSAL_AT_THE_END = 0, 2  # mask types of the operator; 2 aligns the last query with the last key


@cache
def find_efficient_arguments() -> frozenset[str]:
    """Return the names of the operator's arguments; empty if the installed torch has no such operator."""
    try:
        forward = torch.ops.aten._efficient_attention_forward.default._schema
        backward = torch.ops.aten._efficient_attention_backward.default._schema
    except (AttributeError, RuntimeError):
        return frozenset()
    # An option is usable only if both passes take it, except for those that only one of them needs.
    names = [{argument.name for argument in schema.arguments} for schema in (forward, backward)]
    return frozenset(names[0] & (names[1] | {"max_seqlen_q", "max_seqlen_k", "compute_log_sumexp"}))


def attend_efficient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    spans: Spans,
    ask: AttentionAsk,
    forward: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Tensor:
    """Compute attention of [1, heads, tokens, head_dim]; returns [1, tokens, heads, value_dim].

    Args:
        forward, backward: Functions with the arguments of the operators; the operators themselves if None.
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
        _align_heads(lay_heads_by_token(query, width=width)[None]),
        _align_heads(lay_heads_by_token(key, spans.places, heads, width)[None]),
        _align_heads(lay_heads_by_token(value, spans.places, heads, value_width)[None]),
        spans,
        ask,
        scale,
        calls,
    )
    return out[..., :value_dim]


def _align_heads(tensor: Tensor) -> Tensor:
    """Return the tensor, copied if its heads do not start at aligned addresses."""
    # Heads that are views of a fused projection may start anywhere, but the operator needs them aligned.
    even = tensor.stride(-1) == 1 and all(stride % ALIGNED == 0 for stride in tensor.stride()[1:-1])
    return tensor if even and tensor.storage_offset() % ALIGNED == 0 else tensor.contiguous()


class _Efficient(torch.autograd.Function):
    """The operator with the window passed to both of its passes."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        spans: Spans,
        ask: AttentionAsk,
        scale: float,
        calls: Any,
    ) -> Tensor:
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
    def backward(ctx: Any, *gradients: Tensor) -> Any:
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
