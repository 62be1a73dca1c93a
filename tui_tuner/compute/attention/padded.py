"""Sequences of a flat row as padded rows of few lengths: one call for all of a like length.

Takes everything: it is what is left where no kernel for sequences of unequal length does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tui_tuner.compute.attention.spans import Ask, Spans
from tui_tuner.compute.transfer import send

Attend = Callable[[Any, Any, Any, Any, Ask], Any]  # of queries, keys, values and a mask

SHORTEST = 64  # tokens of the smallest padded row


@dataclass(frozen=True)
class Group:
    """Sequences that are padded to the same lengths.

    Args:
        queries, keys: [sequences * padded length] int64: the tokens to gather.
        shape: Sequences, padded queries, padded keys.
        mask: [sequences or 1, 1, queries, keys] bool, True where a query may look; None where `causal` says
            it all.
    """

    queries: Any
    keys: Any
    shape: tuple[int, int, int]
    mask: Any


def attend_padded(query: Any, key: Any, value: Any, spans: Spans, ask: Ask) -> Any:
    """Attention of [1, heads, tokens, head_dim] by PyTorch's scaled dot product attention.

    Returns: [1, tokens, heads, value_dim].
    """
    return _by_groups(_by_torch, query, key, value, spans, ask)


def attend_clear(query: Any, key: Any, value: Any, spans: Spans, ask: Ask) -> Any:
    """The same by matrix products, with capped scores and sinks too."""
    return _by_groups(attend_scores, query, key, value, spans, ask)


def _by_groups(attend: Attend, query: Any, key: Any, value: Any, spans: Spans, ask: Ask) -> Any:
    groups, back = _groups(spans, ask, query.device)
    parts = []
    for group in groups:
        q = _rows(query, group.queries, group.shape[0], group.shape[1])
        k, v = (_rows(part, group.keys, group.shape[0], group.shape[2]) for part in (key, value))
        parts.append(attend(q, k, v, group.mask, ask).transpose(1, 2).flatten(0, 1))
    return torch.cat(parts).index_select(0, back)[None]


def attend_scores(query: Any, key: Any, value: Any, mask: Any, ask: Ask) -> Any:
    """Attention of [batch, heads, tokens, head_dim] with its scores in the clear, softmax in float32.

    Args:
        mask: Bool, True where a query may look, or numbers to add; None for all keys, or those before a query
            where `ask` is causal.
    """
    scale = query.shape[-1] ** -0.5 if ask.scaling is None else ask.scaling
    key, value = (_repeated(part, query.shape[1]) for part in (key, value))
    scores = (query @ key.transpose(-1, -2)).float() * scale
    if ask.softcap:
        scores = ask.softcap * torch.tanh(scores / ask.softcap)
    if mask is None and ask.causal and query.shape[-2] > 1:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device)
        mask = mask.tril()  # with more keys than queries, those after them are not filled yet
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask[..., : scores.shape[-1]].float()
    if ask.sinks is not None:
        sinks = ask.sinks.float().view(1, -1, 1, 1).expand(*scores.shape[:-1], 1)
        weights = torch.softmax(torch.cat([scores, sinks], dim=-1), dim=-1)[..., :-1]
    else:
        weights = torch.softmax(scores, dim=-1)
    weights = torch.nn.functional.dropout(weights.to(value.dtype), ask.dropout, training=bool(ask.dropout))
    return weights @ value


def _by_torch(query: Any, key: Any, value: Any, mask: Any, ask: Ask) -> Any:
    return torch.nn.functional.scaled_dot_product_attention(
        query,
        _repeated(key, query.shape[1]),
        _repeated(value, query.shape[1]),
        attn_mask=mask,
        dropout_p=ask.dropout,
        scale=ask.scaling,
        is_causal=mask is None and ask.causal,
    )


def _rows(tensor: Any, places: Any, rows: int, length: int) -> Any:
    """[1, heads, tokens, numbers] as [rows, heads, length, numbers]."""
    found = tensor[0].index_select(1, places)
    return found.unflatten(1, (rows, length)).transpose(0, 1)


def _repeated(tensor: Any, heads: int) -> Any:
    """Key heads, repeated for all query heads that share them: not every kernel knows groups."""
    if tensor.shape[1] == heads:
        return tensor
    return tensor[:, :, None].expand(-1, -1, heads // tensor.shape[1], -1, -1).flatten(1, 2)


def padded_length(length: int) -> int:
    """The power of two that so many tokens are padded to, so that there are few."""
    return max(SHORTEST, 1 << (length - 1).bit_length())


def _groups(spans: Spans, ask: Ask, device: Any) -> tuple[list[Group], Any]:
    """The groups of a row, and where each of its tokens is in their results; kept for the next layers."""
    name = ("padded", ask.window, ask.causal, str(device))
    if name not in spans.made:
        spans.made[name] = _make_groups(spans, ask, device)
    found: tuple[list[Group], Any] = spans.made[name]
    return found


def _make_groups(spans: Spans, ask: Ask, device: Any) -> tuple[list[Group], Any]:
    alike = defaultdict(list)
    for stretch in spans.stretches:
        both = padded_length(stretch.length), padded_length(stretch.prefix + stretch.length)
        alike[both].append(stretch)
    groups, back, before = [], np.zeros(spans.tokens, dtype=np.int64), 0
    for (longest_query, longest_key), stretches in alike.items():
        queries = np.empty((len(stretches), longest_query), dtype=np.int64)
        keys = np.empty((len(stretches), longest_key), dtype=np.int64)
        for row, one in enumerate(stretches):
            own = np.arange(one.start, one.start + one.length)
            prefix = np.arange(one.prefix_start, one.prefix_start + one.prefix)
            # padded with the same tokens again, as zeros of all gradients would be added to one token's
            queries[row] = np.resize(own, longest_query)
            keys[row] = np.resize(np.concatenate([prefix, own]), longest_key)
            back[own] = before + row * longest_query + np.arange(one.length)
        before += queries.size
        shape = (len(stretches), longest_query, longest_key)
        places = [send(torch.from_numpy(part.reshape(-1)), device) for part in (queries, keys)]
        groups.append(Group(places[0], places[1], shape, _mask(stretches, shape, ask, device)))
    return groups, send(torch.from_numpy(back), device)


def _mask(stretches: list[Any], shape: tuple[int, int, int], ask: Ask, device: Any) -> Any:
    """None where what is padded stands after all that counts, so that causality hides it."""
    window = ask.window if ask.window is not None and ask.window < shape[2] else None
    if ask.causal and window is None and not any(one.prefix for one in stretches):
        return None
    sizes = torch.tensor([[one.prefix, one.length] for one in stretches], dtype=torch.int32)
    prefix, length = (part[:, None, None, None] for part in send(sizes, device).unbind(1))
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
    # a padded query sees some key, or its softmax would be of nothing
    return torch.where(queries < length, seen, keys == 0)
