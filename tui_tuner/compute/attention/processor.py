"""Attention on a processor: one call for each sequence of a flat row.

Short stretches in 16 bits are plain matrix products (`attend`), which are quicker there.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any


def attend_each(
    query: Any,
    key: Any,
    value: Any,
    lengths: list[int],
    dropout: float,
    scaling: float | None,
    window: int | None,
    causal: bool,
) -> Any:
    """One scaled dot product attention per segment."""
    import torch

    parts = []
    for q, k, v in zip(
        query.split(lengths, dim=2), key.split(lengths, dim=2), value.split(lengths, dim=2), strict=True
    ):
        length = q.shape[2]
        mask = None
        if window is not None and length > window:
            places = torch.arange(length, device=q.device)
            distance = places[:, None] - places[None, :]
            mask = (distance < window) & (distance >= 0 if causal else distance > -window)
        out = stretch(q, k, v, mask, causal, dropout, scaling)
        parts.append(out.transpose(1, 2))
    return torch.cat(parts, dim=1)


def attend_layout(
    query: Any,
    key: Any,
    value: Any,
    layout: Any,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Any:
    """Causal attention of [1, heads, tokens, head_dim] by a layout; returns [1, tokens, heads, head_dim]."""
    import torch

    parts = []
    for segment in layout.segments:
        own = slice(segment.start, segment.start + segment.length)
        k, v, mask = key[:, :, own], value[:, :, own], None
        if segment.prefix:
            before = slice(segment.prefix_start, segment.prefix_start + segment.prefix)
            k = torch.cat([key[:, :, before], k], dim=2)
            v = torch.cat([value[:, :, before], v], dim=2)
        if segment.prefix or (window is not None and segment.length > window):
            mask = layout.mask(segment, window, query)
        out = stretch(query[:, :, own], k, v, mask, True, dropout, scaling)
        parts.append(out.transpose(1, 2))
    return torch.cat(parts, dim=1)


MOST_SCORES = 256 * 256  # queries x keys of one head; above, the fused kernel is ahead or memory counts


def fits(query: Any, key: Any, dropout: float) -> bool:
    """Whether a stretch is short enough, in 16 bits on a CPU, and without dropout."""
    if query.device.type != "cpu" or query.dtype.itemsize != 2 or dropout:
        return False
    return query.shape[2] * key.shape[2] <= MOST_SCORES


@lru_cache(maxsize=512)
def causal_bias(length: int) -> Any:
    """[length, length] float32: 0 where a query may look, -inf after it."""
    import torch

    return torch.full((length, length), -math.inf).triu_(1)


def attend(query: Any, key: Any, value: Any, mask: Any, scaling: float | None) -> Any:
    """Attention of [1, heads, queries, head_dim] over [1, key heads, keys, head_dim]; returns the former.

    Args:
        mask: [queries, keys], added to the scores; None where each query sees all keys.
        scaling: Factor of the scores; 1/sqrt(head_dim) where None.
    """
    import torch

    _, heads, length, width = query.shape
    key_heads = key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    together = heads // key_heads  # query heads that share a key head stand below one another
    q, k, v = (tensor[0].float() for tensor in (query, key, value))
    q = q.reshape(key_heads, together * length, width)
    with torch.autocast("cpu", enabled=False):  # or it would round the scores to 16 bits
        if mask is None:
            scores = torch.bmm(q, k.transpose(1, 2)) * scale
        else:
            bias = mask.float() if together == 1 else mask.float().repeat(together, 1)
            scores = torch.baddbmm(bias[None], q, k.transpose(1, 2), alpha=scale)
        out = torch.bmm(torch.softmax(scores, dim=-1), v)
    return out.view(1, heads, length, v.shape[-1]).to(query.dtype)


def stretch(
    query: Any, key: Any, value: Any, mask: Any, causal: bool, dropout: float, scaling: float | None
) -> Any:
    """Attention of one stretch, by whichever kernel is quicker for its size; shapes as in `attend`.

    Args:
        mask: [queries, keys], as `scaled_dot_product_attention` takes it; None where `causal` says it all.
    """
    from torch.nn.functional import scaled_dot_product_attention

    length = query.shape[2]
    additive = mask is None or mask.is_floating_point()
    if additive and fits(query, key, dropout):
        bias = causal_bias(length) if mask is None and causal else mask
        return attend(query, key, value, bias, scaling)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        scale=scaling,
        is_causal=causal and mask is None and length > 1,
        enable_gqa=query.shape[1] != key.shape[1],
    )
