"""Attention within each sequence of a flat row, and none between them.

Registered with transformers under `NAME`; a model that uses it and is called without `segment_lengths` (for
generation, or with padded rows) gets PyTorch's scaled dot product attention with the usual masks.

Short stretches in 16 bits on a processor are plain matrix products (`attend`), which are quicker there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any

from tui_tuner.compute.numeric import varlen_fits
from tui_tuner.compute.router_loss import COUNTS_ONLY
from tui_tuner.compute.transfer import send_numbers
from tui_tuner.models.device import Device, find_device

NAME = "tui_tuner_segments"
_UNKNOWN_EXTRAS = ("softcap", "s_aux", "position_bias", "sinks")


def register() -> None:
    """Make `NAME` an attention implementation of transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, padding_mask)


def padding_mask(*args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
    """The usual mask of padded rows; None for a flat one, whose attention reads the lengths."""
    from transformers.masking_utils import sdpa_mask

    if getattr(attention_mask, COUNTS_ONLY, False):
        return None
    return sdpa_mask(*args, attention_mask=attention_mask, **kwargs)


def segment_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    segment_lengths: list[int] | None = None,
    segment_layout: Any = None,
    **extras: Any,
) -> tuple[Any, None]:
    """Attention of [1, heads, tokens, head_dim] within segments; returns [1, tokens, heads, head_dim].

    Raises:
        ValueError: the model asks for something (soft caps, sinks, position biases) that is not done here.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if segment_lengths is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **extras
        )
    asked = [name for name in _UNKNOWN_EXTRAS if extras.get(name) is not None]
    if asked:
        raise ValueError(f"attention per sequence does not know {asked[0]}")
    causal = extras.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    query, key, value = _as_autocast(query, key, value)
    if segment_layout is not None:
        if not causal:
            raise ValueError("only causal attention can share a prefix")
        if query.is_cuda and varlen_takes(query, value, dropout):
            return _varlen_layout(query, key, value, segment_layout, scaling, sliding_window), None
        return attend_layout(query, key, value, segment_layout, dropout, scaling, sliding_window), None
    if query.is_cuda and varlen_takes(query, value, dropout):
        return _varlen(query, key, value, segment_lengths, scaling, sliding_window, causal), None
    return _each(query, key, value, segment_lengths, dropout, scaling, sliding_window, causal), None


def _as_autocast(*tensors: Any) -> Iterator[Any]:
    """Inputs of the kernel in autocast's dtype on a GPU, as PyTorch's own attention takes them there.

    Rotations leave queries and keys in float32 where the trained weights are, and the kernel for segments is
    none of the operations that autocast knows.
    """
    import torch

    casting = tensors[0].is_cuda and torch.is_autocast_enabled("cuda")
    dtype = torch.get_autocast_dtype("cuda") if casting else None
    return (tensor.to(dtype) if casting else tensor for tensor in tensors)


def _each(
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


@cache
def _device(place: str) -> Device:
    return find_device(place)


def varlen_takes(query: Any, value: Any, dropout: float, device: Device | None = None) -> bool:
    """Whether PyTorch's attention over segments takes these; on the device where they are, or another."""
    device = device or _device(str(query.device))
    dtype = str(query.dtype).removeprefix("torch.")
    return varlen_fits(device, dtype, query.shape[-1], value.shape[-1], dropout)


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


def _varlen(
    query: Any,
    key: Any,
    value: Any,
    lengths: list[int],
    scaling: float | None,
    window: int | None,
    causal: bool,
) -> Any:
    from torch.nn.attention.varlen import varlen_attn

    bounds, longest = segment_bounds(tuple(lengths), query.device)
    back = -1 if window is None else window - 1
    out = varlen_attn(
        *(tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value)),
        bounds,
        bounds,
        longest,
        longest,
        scale=scaling,
        window_size=(back, 0 if causal else back),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out[None]


def _varlen_layout(
    query: Any, key: Any, value: Any, layout: Any, scaling: float | None, window: int | None
) -> Any:
    """Keys of a shared prefix are repeated before those of each sequence; queries stand at their end."""
    from torch.nn.attention.varlen import varlen_attn

    places, queries, keys, longest_query, longest_key = layout.bounds(query.device)
    out = varlen_attn(
        query[0].transpose(0, 1).contiguous(),
        *(tensor[0].index_select(1, places).transpose(0, 1).contiguous() for tensor in (key, value)),
        queries,
        keys,
        longest_query,
        longest_key,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out[None]


_last_bounds: tuple[Any, Any] | None = None


def segment_bounds(lengths: tuple[int, ...], device: Any) -> tuple[Any, int]:
    """Where each segment begins and ends ([segments + 1] int32, on the device), and the longest one.

    The last answer is kept: all layers of a forward pass ask for the same.
    """
    import torch

    global _last_bounds
    name = (lengths, device)
    if _last_bounds is None or _last_bounds[0] != name:
        _last_bounds = (name, send_numbers([0, *accumulate(lengths)], device, torch.int32))
    return _last_bounds[1], max(lengths)


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
