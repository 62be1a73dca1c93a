"""PyTorch's flex attention over the sequences of a flat row, for capped scores and for sinks.

Compiled once for all lengths. Which keys a token sees is four numbers of each token, so that windows and
shared beginnings are the same code as plain sequences; the map of blocks is made once a forward pass, not by
looking at every pair of tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from tui_tuner.compute.attention.spans import Ask, Spans
from tui_tuner.compute.kernels.available import VARIANTS
from tui_tuner.compute.transfer import send

BLOCK = 128  # tokens
NARROWEST = 16  # numbers of a head


@cache
def compiled_flex() -> Callable[..., Any]:
    """Flex attention, compiled for any lengths, and anew for another cap or scale only."""
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=True)

    def call(*tensors: Any, **options: Any) -> Any:
        # Numbers such as the cap are part of the code: as inputs they would be tensors of the processor.
        # Beyond the limit torch would go on without compiling, with the scores of the whole row in memory.
        with torch._dynamo.config.patch(specialize_float=True, recompile_limit=VARIANTS):
            return compiled(*tensors, **options)

    return call


def attend_flex(
    query: Any, key: Any, value: Any, spans: Spans, ask: Ask, call: Callable[..., Any] | None = None
) -> Any:
    """Attention of [1, heads, tokens, head_dim]; returns [1, tokens, heads, value_dim].

    Args:
        call: `flex_attention`, or what computes the same; None for the compiled one.
    """
    from torch.nn.attention.flex_attention import AuxRequest

    scale = query.shape[-1] ** -0.5 if ask.scaling is None else ask.scaling
    value_dim = value.shape[-1]
    query, key, value = (_wide(part) for part in (query, key, value))
    options: dict[str, Any] = {
        "score_mod": _bend(ask.softcap),
        "block_mask": _block_mask(spans, ask, query.device),
        "scale": scale,
        "enable_gqa": query.shape[1] != key.shape[1],
    }
    call = call or compiled_flex()
    if ask.sinks is None:
        out = call(query, key, value, **options)
    else:
        out, sums = call(query, key, value, return_aux=AuxRequest(lse=True), **options)
        # of all weights, the sink's included, the keys have this part
        share = torch.sigmoid(sums.lse - ask.sinks.float().view(1, -1, 1))
        out = out * share[..., None].to(out.dtype)
    return out.transpose(1, 2)[..., :value_dim]


def _wide(tensor: Any) -> Any:
    missing = NARROWEST - tensor.shape[-1]
    return torch.nn.functional.pad(tensor, (0, missing)) if missing > 0 else tensor


@cache
def _bend(softcap: float | None) -> Callable[..., Any] | None:
    """What happens to a score; the same function for the same cap, so that nothing is compiled again."""
    if not softcap:
        return None

    def bend(score: Any, batch: Any, head: Any, query: Any, key: Any) -> Any:
        return softcap * torch.tanh(score / softcap)

    return bend


def _block_mask(spans: Spans, ask: Ask, device: Any) -> Any:
    """Which keys a query sees, and the blocks of them that are looked at; kept for the next layers."""
    name = ("flex", ask.window, ask.causal, str(device))
    if name not in spans.made:
        spans.made[name] = _make_block_mask(spans, ask, device)
    return spans.made[name]


def _make_block_mask(spans: Spans, ask: Ask, device: Any) -> Any:
    from torch.nn.attention.flex_attention import BlockMask

    reach = key_ranges(spans, ask)
    counts, indices = key_blocks(reach)
    first, end, prefix, prefix_end = (send(torch.from_numpy(part), device) for part in reach.astype(np.int32))

    def sees(batch: Any, head: Any, query: Any, key: Any) -> Any:
        own = (key >= first[query]) & (key < end[query])
        return own | ((key >= prefix[query]) & (key < prefix_end[query]))

    return BlockMask.from_kv_blocks(
        send(torch.from_numpy(counts)[None, None], device),
        send(torch.from_numpy(indices)[None, None], device),
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(spans.tokens, spans.tokens),
    )


def key_ranges(spans: Spans, ask: Ask) -> np.ndarray:
    """[4, tokens]: for each token where its keys begin and end, and those of a beginning that it shares."""
    found = np.zeros((4, spans.tokens), dtype=np.int64)
    window = ask.window if ask.window is not None else spans.tokens + spans.longest_key
    for one in spans.stretches:
        tokens = np.arange(one.start, one.start + one.length)
        last = one.start + one.length
        found[0, tokens] = np.maximum(one.start, tokens - window + 1)
        found[1, tokens] = tokens + 1 if ask.causal else np.minimum(last, tokens + window)
        if one.prefix:
            reached = one.prefix - (
                window - 1 - (tokens - one.start)
            )  # the first that the window still holds
            found[2, tokens] = one.prefix_start + np.clip(reached, 0, one.prefix)
            found[3, tokens] = one.prefix_start + one.prefix
    return found


def key_blocks(reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[blocks] and [blocks, blocks] int32: how many blocks of keys a block of queries sees, and which."""
    tokens = reach.shape[1]
    blocks = -(-tokens // BLOCK)
    looked = np.zeros((blocks, blocks + 1), dtype=np.int64)
    rows = np.arange(tokens) // BLOCK
    for begin, end in ((reach[0], reach[1]), (reach[2], reach[3])):
        some = end > begin
        np.add.at(looked, (rows[some], begin[some] // BLOCK), 1)
        np.add.at(looked, (rows[some], (end[some] - 1) // BLOCK + 1), -1)
    seen = np.cumsum(looked[:, :-1], axis=1) > 0
    order = np.argsort(~seen, axis=1, kind="stable")
    return seen.sum(axis=1).astype(np.int32), order.astype(np.int32)
