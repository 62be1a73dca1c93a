"""Attention within each sequence of a flat row, and none between them.

Registered with transformers under `NAME`; a model that uses it and is called without `segment_lengths` (for
generation, or with padded rows) gets PyTorch's scaled dot product attention with the usual masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from typing import Any

from tui_tuner.compute import shared_prefix, small_attention
from tui_tuner.compute.numeric import varlen_fits
from tui_tuner.models.device import Device, find_device

NAME = "tui_tuner_segments"
_UNKNOWN_EXTRAS = ("softcap", "s_aux", "position_bias", "sinks")


def register() -> None:
    """Make `NAME` an attention implementation of transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)


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
        return shared_prefix.attend(query, key, value, segment_layout, dropout, scaling, sliding_window), None
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
        out = small_attention.stretch(q, k, v, mask, causal, dropout, scaling)
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
        bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        _last_bounds = (name, bounds.to(device, non_blocking=True))
    return _last_bounds[1], max(lengths)
