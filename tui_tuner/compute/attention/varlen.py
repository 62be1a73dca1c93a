"""PyTorch's `varlen_attn` and the varlen function of flash-attn: all sequences of a flat row in one call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from tui_tuner.compute.attention.kernel_choice import find_flash_width
from tui_tuner.compute.attention.spans import AttentionAsk, Spans, lay_heads_by_token

if TYPE_CHECKING:
    from torch import Tensor


@cache
def find_torch_varlen() -> tuple[Callable[..., Any] | None, frozenset[str]]:
    """Return the function of the installed torch, and the names of its parameters in this version."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None, frozenset()
    return varlen_attn, frozenset(inspect.signature(varlen_attn).parameters)


def attend_varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    spans: Spans,
    ask: AttentionAsk,
    call: Callable[..., Any],
    takes: frozenset[str],
    capability: tuple[int, int] = (8, 0),
    repeat: bool = True,
) -> Tensor:
    """Compute attention of [1, heads, tokens, head_dim]; returns [1, tokens, heads, value_dim].

    Args:
        call: `varlen_attn` or an equivalent.
        takes: Its parameters. Without `scale` the queries are scaled.
        repeat: Repeat keys and values for the query heads that share them if there is no `enable_gqa`; else
            rely on the kernel to detect groups, as some versions without that parameter do.
    """
    heads, head_dim, value_dim = query.shape[1], query.shape[-1], value.shape[-1]
    width = find_flash_width(head_dim, value_dim, capability)
    options: dict[str, Any] = {}
    scale = ask.scaling
    # The kernel would derive its default scale from the padded width.
    if scale is None and width != head_dim:
        scale = head_dim**-0.5
    if "scale" in takes:
        options["scale"] = scale
    elif scale is not None and abs(scale * width**0.5 - 1) > 1e-6:
        # Without the parameter the kernel divides by the root of the width it sees: compensate for that.
        query = query * (scale * width**0.5)
    if "window_size" in takes:
        # The kernel counts the keys before a query without its own; -1 means no limit.
        back = -1 if ask.window is None else ask.window - 1
        options["window_size"] = (back, 0 if ask.causal else back)
    else:
        options["is_causal"] = ask.causal
    grouped = heads != key.shape[1]
    if "enable_gqa" in takes:
        options["enable_gqa"] = grouped
    repeated = heads if grouped and repeat and "enable_gqa" not in takes else 0
    out = call(
        lay_heads_by_token(query, width=width).contiguous(),
        lay_heads_by_token(key, spans.places, repeated, width).contiguous(),
        lay_heads_by_token(value, spans.places, repeated, width).contiguous(),
        spans.query_bounds,
        spans.key_bounds,
        spans.longest_query,
        spans.longest_key,
        **options,
    )
    return out[None, ..., :value_dim]


def attend_flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    spans: Spans,
    ask: AttentionAsk,
    call: Callable[..., Any],
    capability: tuple[int, int] = (8, 0),
) -> Tensor:
    """Compute the same with `flash_attn_varlen_func`, from the package flash_attn or a kernel of the hub."""
    head_dim, value_dim = query.shape[-1], value.shape[-1]
    width = find_flash_width(head_dim, value_dim, capability)
    options: dict[str, Any] = {"causal": ask.causal}
    options["softmax_scale"] = head_dim**-0.5 if ask.scaling is None else ask.scaling
    if ask.window is not None:
        options["window_size"] = (ask.window - 1, 0 if ask.causal else ask.window - 1)
    if ask.dropout:
        options["dropout_p"] = ask.dropout
    if ask.softcap:
        options["softcap"] = ask.softcap
    out = call(
        lay_heads_by_token(query, width=width).contiguous(),
        lay_heads_by_token(key, spans.places, width=width).contiguous(),
        lay_heads_by_token(value, spans.places, width=width).contiguous(),
        cu_seqlens_q=spans.query_bounds,
        cu_seqlens_k=spans.key_bounds,
        max_seqlen_q=spans.longest_query,
        max_seqlen_k=spans.longest_key,
        **options,
    )
    # Some versions also return the log-sum-exp of the softmax.
    out = out[0] if isinstance(out, tuple) else out
    return out[None, ..., :value_dim]
