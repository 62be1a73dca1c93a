"""Attention on a CPU: one call for each sequence of a flat row.

Short stretches in 16 bits are plain matrix products (`attend_by_products`), which are faster there.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def attend_each_segment(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: list[int],
    dropout: float,
    scaling: float | None,
    window: int | None,
    causal: bool,
) -> Tensor:
    """Compute attention segment by segment; shapes as in `attend_layout`."""
    import torch

    parts = []
    for q, k, v in zip(
        query.split(lengths, dim=2), key.split(lengths, dim=2), value.split(lengths, dim=2), strict=True
    ):
        length = q.shape[2]
        mask = None
        # Within the window a mask would change nothing, and the kernels are faster without one.
        if window is not None and length > window:
            places = torch.arange(length, device=q.device)
            distance = places[:, None] - places[None, :]
            mask = (distance < window) & (distance >= 0 if causal else distance > -window)
        out = attend_stretch(q, k, v, mask, causal, dropout, scaling)
        parts.append(out.transpose(1, 2))
    return torch.cat(parts, dim=1)


def attend_layout(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Any,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Compute causal attention of [1, heads, tokens, head_dim] by a layout.

    Returns: [1, tokens, heads, head_dim].
    """
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
            mask = layout.make_mask(segment, window, query)
        out = attend_stretch(query[:, :, own], k, v, mask, True, dropout, scaling)
        parts.append(out.transpose(1, 2))
    return torch.cat(parts, dim=1)


MOST_SCORES = 256 * 256  # queries x keys of one head; above, the fused kernel is faster or memory counts


def is_short_stretch(query: Tensor, key: Tensor, dropout: float) -> bool:
    """Return whether plain products are faster: a short stretch, in 16 bits on a CPU, without dropout."""
    if query.device.type != "cpu" or query.dtype.itemsize != 2 or dropout:
        return False
    return query.shape[2] * key.shape[2] <= MOST_SCORES


@lru_cache(maxsize=512)
def make_causal_bias(length: int) -> Tensor:
    """Return [length, length] float32: 0 for keys that a query sees, -inf for those after it."""
    import torch

    return torch.full((length, length), -math.inf).triu_(1)


def attend_by_products(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> Tensor:
    """Compute attention of [1, heads, queries, head_dim] over [1, key heads, keys, head_dim].

    Args:
        mask: [queries, keys], added to the scores; None if each query sees all keys.
        scaling: Factor of the scores; 1/sqrt(head_dim) if None.

    Returns: [1, heads, queries, value_dim], in the dtype of the queries.
    """
    import torch

    _, heads, length, width = query.shape
    key_heads = key.shape[1]
    scale = width**-0.5 if scaling is None else scaling
    # Query heads that share a key head are stacked, so each key head is one matrix product.
    together = heads // key_heads
    q, k, v = (tensor[0].float() for tensor in (query, key, value))
    q = q.reshape(key_heads, together * length, width)
    # Autocast would round the scores to 16 bits.
    with torch.autocast("cpu", enabled=False):
        if mask is None:
            scores = torch.bmm(q, k.transpose(1, 2)) * scale
        else:
            bias = mask.float() if together == 1 else mask.float().repeat(together, 1)
            scores = torch.baddbmm(bias[None], q, k.transpose(1, 2), alpha=scale)
        out = torch.bmm(torch.softmax(scores, dim=-1), v)
    return out.view(1, heads, length, v.shape[-1]).to(query.dtype)


def attend_stretch(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    causal: bool,
    dropout: float,
    scaling: float | None,
) -> Tensor:
    """Compute attention of one stretch with the kernel that is faster for its size.

    Shapes are those of `attend_by_products`.

    Args:
        mask: [queries, keys], as `scaled_dot_product_attention` takes it; None if `causal` is enough.
    """
    from torch.nn.functional import scaled_dot_product_attention

    length = query.shape[2]
    additive = mask is None or mask.is_floating_point()
    if additive and is_short_stretch(query, key, dropout):
        bias = make_causal_bias(length) if mask is None and causal else mask
        return attend_by_products(query, key, value, bias, scaling)
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
