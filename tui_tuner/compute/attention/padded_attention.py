"""Sequences of a flat row as padded rows of few lengths: one call for all of similar length.

It supports everything, and is the fallback where no kernel for sequences of unequal length does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tui_tuner.compute.attention.spans import AttentionAsk, Spans
from tui_tuner.compute.transfer import send_tensor

if TYPE_CHECKING:
    from torch import Tensor

Attend = Callable[[Any, Any, Any, Any, AttentionAsk], Any]  # of queries, keys, values and a mask

SHORTEST = 64  # tokens of the shortest padded row


@dataclass(frozen=True)
class PaddedGroup:
    """Sequences that are padded to the same length.

    Args:
        queries, keys: [sequences * padded length] int64: the tokens to gather.
        shape: Sequences, padded queries, padded keys.
        mask: [sequences or 1, 1, queries, keys] bool, True where a query sees a key; None if `causal` is
            enough.
    """

    queries: Tensor
    keys: Tensor
    shape: tuple[int, int, int]
    mask: Tensor | None


def attend_padded(query: Tensor, key: Tensor, value: Tensor, spans: Spans, ask: AttentionAsk) -> Tensor:
    """Compute attention of [1, heads, tokens, head_dim] with PyTorch's scaled dot product attention.

    Returns: [1, tokens, heads, value_dim].
    """
    return _attend_by_groups(_attend_group, query, key, value, spans, ask)


def attend_padded_plainly(
    query: Tensor, key: Tensor, value: Tensor, spans: Spans, ask: AttentionAsk
) -> Tensor:
    """Compute the same as `attend_padded` by matrix products, with capped scores and sinks too."""
    return _attend_by_groups(attend_explicit_scores, query, key, value, spans, ask)


def _attend_by_groups(
    attend: Attend, query: Tensor, key: Tensor, value: Tensor, spans: Spans, ask: AttentionAsk
) -> Tensor:
    groups, back = _get_groups(spans, ask, query.device)
    parts = []
    for group in groups:
        q = _gather_rows(query, group.queries, group.shape[0], group.shape[1])
        k, v = (_gather_rows(part, group.keys, group.shape[0], group.shape[2]) for part in (key, value))
        parts.append(attend(q, k, v, group.mask, ask).transpose(1, 2).flatten(0, 1))
    return torch.cat(parts).index_select(0, back)[None]


def attend_explicit_scores(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, ask: AttentionAsk
) -> Tensor:
    """Compute attention of [batch, heads, tokens, head_dim] with explicit scores, softmax in float32.

    Args:
        mask: Bool, True where a query sees a key, or values to add; None for all keys, or for those up to
            the query if `ask` is causal.
    """
    scale = query.shape[-1] ** -0.5 if ask.scaling is None else ask.scaling
    key, value = (_repeat_heads(part, query.shape[1]) for part in (key, value))
    scores = (query @ key.transpose(-1, -2)).float() * scale
    if ask.softcap:
        scores = ask.softcap * torch.tanh(scores / ask.softcap)
    if mask is None and ask.causal and query.shape[-2] > 1:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
        # More keys than queries come from a static cache: those after the queries are not filled yet.
        mask = mask.tril()
    # The smallest finite number instead of -inf: a row that is hidden completely would become NaN.
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask[..., : scores.shape[-1]].float()
    if ask.sinks is not None:
        sinks = ask.sinks.float().view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        # A sink is a key without a value: it takes part in the softmax and is then dropped.
        weights = torch.softmax(torch.cat([scores, sinks], dim=-1), dim=-1)[..., :-1]
    else:
        weights = torch.softmax(scores, dim=-1)
    weights = torch.nn.functional.dropout(weights.to(value.dtype), ask.dropout, training=bool(ask.dropout))
    return weights @ value


def _attend_group(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, ask: AttentionAsk
) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(
        query,
        _repeat_heads(key, query.shape[1]),
        _repeat_heads(value, query.shape[1]),
        attn_mask=mask,
        dropout_p=ask.dropout,
        scale=ask.scaling,
        is_causal=mask is None and ask.causal,
    )


def _gather_rows(tensor: Tensor, places: Tensor, rows: int, length: int) -> Tensor:
    """Gather [1, heads, tokens, width] as [rows, heads, length, width]."""
    found = tensor[0].index_select(1, places)
    return found.unflatten(1, (rows, length)).transpose(0, 1)


def _repeat_heads(tensor: Tensor, heads: int) -> Tensor:
    """Repeat key heads for all query heads that share them: not every kernel supports groups."""
    if tensor.shape[1] == heads:
        return tensor
    return tensor[:, :, None].expand(-1, -1, heads // tensor.shape[1], -1, -1).flatten(1, 2)


def pad_length_to_power(length: int) -> int:
    """Return the padded length: a power of two, so that there are few different ones."""
    return max(SHORTEST, 1 << (length - 1).bit_length())


def _get_groups(spans: Spans, ask: AttentionAsk, device: torch.device) -> tuple[list[PaddedGroup], Tensor]:
    """Return the groups of a row, and the place of each token in their results; kept for the next layers."""
    name = ("padded", ask.window, ask.causal, str(device))
    if name not in spans.made:
        spans.made[name] = _make_groups(spans, ask, device)
    found: tuple[list[PaddedGroup], Any] = spans.made[name]
    return found


def _make_groups(spans: Spans, ask: AttentionAsk, device: torch.device) -> tuple[list[PaddedGroup], Tensor]:
    alike = defaultdict(list)
    for stretch in spans.stretches:
        both = pad_length_to_power(stretch.length), pad_length_to_power(stretch.prefix + stretch.length)
        alike[both].append(stretch)
    groups, back, before = [], np.zeros(spans.token_count, dtype=np.int64), 0
    for (longest_query, longest_key), stretches in alike.items():
        queries = np.empty((len(stretches), longest_query), dtype=np.int64)
        keys = np.empty((len(stretches), longest_key), dtype=np.int64)
        for row, one in enumerate(stretches):
            own = np.arange(one.start, one.start + one.length)
            prefix = np.arange(one.prefix_start, one.prefix_start + one.prefix)
            # Pad by repeating the tokens: with a single one as padding, the backward pass of index_select
            # would add the zero gradients of all padding to that one.
            queries[row] = np.resize(own, longest_query)
            keys[row] = np.resize(np.concatenate([prefix, own]), longest_key)
            back[own] = before + row * longest_query + np.arange(one.length)
        before += queries.size
        shape = (len(stretches), longest_query, longest_key)
        places = [send_tensor(torch.from_numpy(part.reshape(-1)), device) for part in (queries, keys)]
        groups.append(PaddedGroup(places[0], places[1], shape, _make_mask(stretches, shape, ask, device)))
    return groups, send_tensor(torch.from_numpy(back), device)


def _make_mask(
    stretches: list[Any], shape: tuple[int, int, int], ask: AttentionAsk, device: torch.device
) -> Tensor | None:
    """Return the mask of a group; None if causality is enough."""
    # Padding comes after all real tokens, so a causal query never sees it.
    window = ask.window if ask.window is not None and ask.window < shape[2] else None
    if ask.causal and window is None and not any(one.prefix for one in stretches):
        return None
    sizes = torch.tensor([[one.prefix, one.length] for one in stretches], dtype=torch.int32)
    prefix, length = (part[:, None, None, None] for part in send_tensor(sizes, device).unbind(1))
    queries = torch.arange(shape[1], dtype=torch.int32, device=device)[:, None]
    keys = torch.arange(shape[2], dtype=torch.int32, device=device)
    distance = prefix + queries - keys
    seen = keys < prefix + length
    if ask.causal:
        seen = seen & (distance >= 0)
    if window is not None:
        seen = seen & (distance < window)
        if not ask.causal:
            seen = seen & (distance > -window)
    # A padded query must see some key, or its softmax would be NaN.
    return torch.where(queries < length, seen, keys == 0)
