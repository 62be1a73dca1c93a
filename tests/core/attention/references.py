"""Operators that only GPUs have, computed plainly, with their signatures and what they insist on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from tui_tuner.compute.attention.spans import AttentionAsk, Spans


def plain(query: Any, key: Any, value: Any, spans: Spans, ask: AttentionAsk) -> Any:
    """Attention of [1, heads, tokens, head_dim] over the whole row at once, by what each token may see."""
    tokens, heads = query.shape[2], query.shape[1]
    sees = torch.zeros(tokens, tokens, dtype=torch.bool)
    for one in spans.stretches:
        for place in range(one.length):
            mine = one.prefix + place
            seen = [*range(one.prefix_start, one.prefix_start + one.prefix)]
            seen += range(one.start, one.start + one.length)
            for number, token in enumerate(seen):
                near = ask.window is None or abs(mine - number) < ask.window
                sees[one.start + place, token] |= near and (number <= mine or not ask.causal)
    k, v = (part.repeat_interleave(heads // part.shape[1], dim=1) for part in (key, value))
    scores = query @ k.transpose(2, 3) * (query.shape[-1] ** -0.5 if ask.scaling is None else ask.scaling)
    if ask.softcap:
        scores = torch.tanh(scores / ask.softcap) * ask.softcap
    scores = scores.masked_fill(~sees, -torch.inf)
    sinks = torch.zeros(heads) - torch.inf if ask.sinks is None else ask.sinks
    whole = torch.cat([scores, sinks.view(1, -1, 1, 1).expand(1, -1, tokens, 1)], dim=-1)
    return (torch.softmax(whole, dim=-1)[..., :-1] @ v).transpose(1, 2)


def _sequences(bounds: Any) -> list[slice]:
    return [slice(begin, end) for begin, end in pairwise(bounds.tolist())]


def _over_sequences(
    query: Any, key: Any, value: Any, bounds: Any, scale: float, sees: Callable[[Any, Any], Any]
) -> Any:
    """[tokens, heads, numbers]; the last query of a sequence meets its last key."""
    assert query.shape[1] == key.shape[1] == value.shape[1] and query.shape[2] == key.shape[2]
    parts = []
    for own, keys in zip(*map(_sequences, bounds), strict=True):
        scores = torch.einsum("qhd,khd->hqk", query[own], key[keys]) * scale
        missing = keys.stop - keys.start - (own.stop - own.start)
        queries = torch.arange(own.stop - own.start)[:, None] + missing
        hidden = ~sees(queries, torch.arange(keys.stop - keys.start)[None])
        weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)
        parts.append(torch.einsum("hqk,khd->qhd", weights, value[keys]))
    return torch.cat(parts)


def _check_flash(query: Any, key: Any, value: Any, bounds: Any, longest: Any) -> None:
    assert query.shape[-1] == key.shape[-1] == value.shape[-1] <= 256 and query.shape[-1] % 8 == 0
    for tensor in (query, key, value):
        assert tensor.is_contiguous()
    for one, most in zip(bounds, longest, strict=True):
        assert one.dtype == torch.int32 and max(part.stop - part.start for part in _sequences(one)) == most
    assert bounds[0][-1] == len(query) and bounds[1][-1] == len(key) == len(value)


def varlen_newest(
    query: Any,
    key: Any,
    value: Any,
    cu_seq_q: Any,
    cu_seq_k: Any,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Any:
    """`varlen_attn` of torch 2.12 and 2.13."""
    _check_flash(query, key, value, (cu_seq_q, cu_seq_k), (max_q, max_k))
    if enable_gqa:
        key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
    assert isinstance(window_size, tuple)
    back, ahead = (one if one >= 0 else 1 << 30 for one in window_size)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return _over_sequences(
        query, key, value, (cu_seq_q, cu_seq_k), scale, lambda q, k: (k >= q - back) & (k <= q + ahead)
    )


def varlen_windows(
    query: Any,
    key: Any,
    value: Any,
    cu_seq_q: Any,
    cu_seq_k: Any,
    max_q: int,
    max_k: int,
    *,
    return_aux: Any = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> Any:
    """`varlen_attn` of torch 2.11."""
    return varlen_newest(
        query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale=scale, window_size=window_size
    )


def varlen_oldest(
    query: Any,
    key: Any,
    value: Any,
    cu_seq_q: Any,
    cu_seq_k: Any,
    max_q: int,
    max_k: int,
    is_causal: bool = False,
    return_aux: Any = None,
) -> Any:
    """`varlen_attn` of torch 2.10."""
    window = (-1, 0 if is_causal else -1)
    return varlen_newest(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size=window)


def flash_attn_varlen_func(
    q: Any,
    k: Any,
    v: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
) -> Any:
    """The package flash_attn's, which has groups of heads without being asked."""
    back, ahead = window_size
    window = (back, 0 if causal else ahead)
    bounds = (cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
    return varlen_newest(q, k, v, *bounds, scale=softmax_scale, window_size=window, enable_gqa=True)


def efficient_forward(
    query: Any,
    key: Any,
    value: Any,
    bias: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float,
    custom_mask_type: int,
    compute_log_sumexp: bool = False,
    *,
    scale: float | None = None,
    seqlen_k: Any = None,
    window_size: int | None = None,
) -> Any:
    """`aten::_efficient_attention_forward`."""
    assert bias is None and len(query) == 1 and compute_log_sumexp and not dropout_p and scale
    assert query.shape[-1] % 8 == value.shape[-1] % 8 == 0
    for tensor in (query, key, value):
        assert tensor.stride(-1) == 1 and tensor.stride(2) % 8 == 0
    bounds = (cu_seqlens_q, cu_seqlens_k)

    def sees(queries: Any, keys: Any) -> Any:
        seen = keys <= queries if custom_mask_type == 2 else torch.ones_like(queries + keys, dtype=torch.bool)
        return seen & (queries - keys < window_size) if window_size else seen

    out = _over_sequences(query[0], key[0], value[0], bounds, scale, sees)[None]
    nothing = torch.zeros(1)
    return out, nothing, nothing, nothing, max_seqlen_q, max_seqlen_k


def efficient_backward(
    grad_out_: Any,
    query: Any,
    key: Any,
    value: Any,
    bias: Any,
    out: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    max_seqlen_q: int,
    max_seqlen_k: int,
    logsumexp: Any,
    dropout_p: float,
    philox_seed: Any,
    philox_offset: Any,
    custom_mask_type: int,
    bias_requires_grad: bool,
    *,
    scale: float | None = None,
    num_splits_key: int | None = None,
    window_size: int | None = None,
    shared_storage_dqdkdv: bool = False,
) -> Any:
    """`aten::_efficient_attention_backward`."""
    leaves = [tensor.detach().requires_grad_() for tensor in (query, key, value)]
    bounds = (cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
    with torch.enable_grad():
        found, *_ = efficient_forward(
            *leaves, None, *bounds, dropout_p, custom_mask_type, True, scale=scale, window_size=window_size
        )
    torch.testing.assert_close(found.detach(), out)
    return (*torch.autograd.grad(found, leaves, grad_out_), torch.zeros(0))


def flex(
    query: Any,
    key: Any,
    value: Any,
    score_mod: Any = None,
    block_mask: Any = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    return_aux: Any = None,
) -> Any:
    """`flex_attention`, which has no backward pass on processors: only blocks that the map names are seen."""
    from torch.nn.attention.flex_attention import AuxOutput

    length, keys = query.shape[2], key.shape[2]
    assert enable_gqa == (query.shape[1] != key.shape[1]) and min(query.shape[-1], value.shape[-1]) >= 16
    assert block_mask.seq_lengths == (length, keys)
    key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], 1) for part in (key, value))
    places = torch.arange(length)[:, None], torch.arange(keys)[None]
    scores = query @ key.transpose(2, 3) * scale
    if score_mod is not None:
        scores = score_mod(scores, None, None, *places)
    sees = block_mask.mask_mod(None, None, *places)
    block = block_mask.BLOCK_SIZE[0]
    looked = block_mask.to_dense()[0, 0].bool().repeat_interleave(block, 0).repeat_interleave(block, 1)
    scores = scores.masked_fill(~(sees & looked[:length, :keys]), -torch.inf)
    out = torch.softmax(scores, dim=-1) @ value
    return out if return_aux is None else (out, AuxOutput(lse=torch.logsumexp(scores, dim=-1)))
